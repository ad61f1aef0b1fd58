import type {ReadonlyJSONValue} from '../json.js';
import {expectArray, expectCount, expectNumber, expectObject, expectString, ShapeError} from './json-shape.js';

/** The identity of one mutation. */
export interface MutationID {
  readonly clientID: string;
  readonly id: number;
}

/** A call of one of the application's mutators. */
export interface CustomMutation {
  readonly type: 'custom';
  readonly id: number;
  readonly clientID: string;
  readonly name: string;
  readonly args: readonly ReadonlyJSONValue[];
  readonly timestamp: number;
}

/** What the sync server sends to the mutate endpoint. */
export interface PushBody {
  readonly clientGroupID: string;
  readonly mutations: readonly CustomMutation[];
  readonly pushVersion: number;
  readonly timestamp: number;
  readonly requestID: string;
}

/** The query parameters of a push. */
export interface PushParams {
  /** The schema that holds the bookkeeping tables. */
  readonly schema: string;
  readonly appID: string;
}

/** The name of the mutation that deletes stored results; it never reaches the application. */
export const CLEANUP_RESULTS = '_zero_cleanupResults';

/** Which stored results to delete. */
export type CleanupResultsArgs =
  | {readonly type: 'single'; readonly clientGroupID: string; readonly clientID: string; readonly upToMutationID: number}
  | {readonly type: 'bulk'; readonly clientGroupID: string; readonly clientIDs: readonly string[]};

/** Reads the body of a push; throws a `ShapeError`. Members that it does not know are left alone. */
export function parsePushBody(json: unknown): PushBody {
  const body = expectObject(json, 'the body');
  return {
    clientGroupID: expectString(body['clientGroupID'], 'clientGroupID'),
    mutations: expectArray(body['mutations'], 'mutations').map((m, i) => parseMutation(m, `mutations[${i}]`)),
    pushVersion: expectNumber(body['pushVersion'], 'pushVersion'),
    timestamp: expectNumber(body['timestamp'], 'timestamp'),
    requestID: expectString(body['requestID'], 'requestID'),
  };
}

function parseMutation(json: unknown, at: string): CustomMutation {
  const mutation = expectObject(json, at);
  if (mutation['type'] !== 'custom') {
    throw new ShapeError(`Expected "custom" at ${at}.type: this endpoint runs named mutators only`);
  }
  return {
    type: 'custom',
    id: expectCount(mutation['id'], `${at}.id`),
    clientID: expectString(mutation['clientID'], `${at}.clientID`),
    name: expectString(mutation['name'], `${at}.name`),
    args: expectArray(mutation['args'], `${at}.args`) as readonly ReadonlyJSONValue[],
    timestamp: expectNumber(mutation['timestamp'], `${at}.timestamp`),
  };
}

/** Reads the query parameters of a push; throws a `ShapeError`. */
export function parsePushParams(query: URLSearchParams | {readonly [name: string]: string | undefined}): PushParams {
  const read = (name: string) => {
    const value = query instanceof URLSearchParams ? query.get(name) : query[name];
    if (typeof value !== 'string' || value === '') {
      throw new ShapeError(`The query parameter "${name}" is missing`);
    }
    return value;
  };
  return {schema: read('schema'), appID: read('appID')};
}

/** The ids of whatever mutations can be recognised in a body, for the answer to one that cannot be read. */
export function recognisableMutationIDs(json: unknown): MutationID[] {
  const mutations = (json as {mutations?: unknown} | null | undefined)?.mutations;
  if (!Array.isArray(mutations)) {
    return [];
  }
  return (mutations as ({id?: unknown; clientID?: unknown} | null)[]).flatMap(mutation => {
    const {id, clientID} = mutation ?? {};
    return typeof id === 'number' && typeof clientID === 'string' ? [{clientID, id}] : [];
  });
}

/** Reads the arguments of the clean-up mutation; throws a `ShapeError`. */
export function parseCleanupResults(json: unknown): CleanupResultsArgs {
  const args = expectObject(json, 'args[0]');
  const clientGroupID = expectString(args['clientGroupID'], 'args[0].clientGroupID');
  switch (args['type']) {
    case undefined:
    case 'single':
      return {
        type: 'single',
        clientGroupID,
        clientID: expectString(args['clientID'], 'args[0].clientID'),
        upToMutationID: expectCount(args['upToMutationID'], 'args[0].upToMutationID'),
      };
    case 'bulk':
      return {
        type: 'bulk',
        clientGroupID,
        clientIDs: expectArray(args['clientIDs'], 'args[0].clientIDs').map((id, i) =>
          expectString(id, `args[0].clientIDs[${i}]`),
        ),
      };
    default:
      throw new ShapeError('Expected "single" or "bulk" at args[0].type');
  }
}
