import {messageOf} from '../landfall-error.js';
import type {Database} from './database.js';
import {DatabaseError, OutOfOrderMutation} from './errors.js';
import {ShapeError} from './json-shape.js';
import {consoleLog, type Log, type LogLevel} from './log.js';
import type {MutateResponse, MutationResponse, PushFailed, PushFailedReason} from './mutate-response.js';
import {MutationRunner, type MutationHandler} from './mutation-runner.js';
import {
  CLEANUP_RESULTS,
  parseCleanupResults,
  parsePushBody,
  parsePushParams,
  recognisableMutationIDs,
  type CustomMutation,
  type MutationID,
  type PushBody,
  type PushParams,
} from './push-request.js';
import {isRequest} from './web-request.js';

/** Query parameters in either of their usual forms. */
export type QueryParams = URLSearchParams | {readonly [name: string]: string | undefined};

interface CommonOptions<TTransaction> {
  readonly dbProvider: Database<TTransaction>;
  readonly handler: MutationHandler<TTransaction>;
  /** The user that the request was authenticated as; null or undefined when logged out. */
  readonly userID: string | null | undefined;
  readonly logLevel?: LogLevel | undefined;
}

/** The options of `handleMutateRequest`: with the request as it came, or with its parts. */
export type HandleMutateRequestOptions<TTransaction> = CommonOptions<TTransaction> &
  ({readonly request: Request} | {readonly query: QueryParams; readonly body: unknown});

/**
 * Answers one call of the mutate endpoint: runs the mutations of a push, in order, each exactly once.
 *
 * It never throws for what the request holds; the answer says what failed and is to be sent with status 200.
 * A transaction that is rolled back by a lost connection, a deadlock or a serialization failure is run again, so a
 * mutator may be called more than once; its writes are there once. Other effects belong after the answer.
 *
 * ```ts
 * const response = await handleMutateRequest({
 *   dbProvider,
 *   userID,
 *   request,
 *   handler: transact =>
 *     transact((tx, name, args) => mustGetMutator(mutators, name).fn({tx, args, ctx: {userID}})),
 * });
 * ```
 */
export function handleMutateRequest<TTransaction>(
  options: HandleMutateRequestOptions<TTransaction>,
): Promise<MutateResponse>;
/** @deprecated Use the form with an object, which also takes the user. */
export function handleMutateRequest<TTransaction>(
  dbProvider: Database<TTransaction>,
  handler: MutationHandler<TTransaction>,
  request: Request,
  logLevel?: LogLevel,
): Promise<MutateResponse>;
/** @deprecated Use the form with an object, which also takes the user. */
export function handleMutateRequest<TTransaction>(
  dbProvider: Database<TTransaction>,
  handler: MutationHandler<TTransaction>,
  query: QueryParams,
  body: unknown,
  logLevel?: LogLevel,
): Promise<MutateResponse>;
export async function handleMutateRequest<TTransaction>(
  first: HandleMutateRequestOptions<TTransaction> | Database<TTransaction>,
  handler?: MutationHandler<TTransaction>,
  requestOrQuery?: Request | QueryParams,
  bodyOrLevel?: unknown,
  logLevel?: LogLevel,
): Promise<MutateResponse> {
  if (handler === undefined) {
    const options = first as HandleMutateRequestOptions<TTransaction>;
    const source: PushSource =
      'request' in options ? {request: options.request} : {query: options.query, body: options.body};
    const push = new Push(options.dbProvider, options.handler, consoleLog(options.logLevel ?? 'info'));
    const response = await push.answer(source);
    return response.kind === 'MutateResponse' ? {...response, userID: options.userID ?? null} : response;
  }
  const dbProvider = first as Database<TTransaction>;
  if (isRequest(requestOrQuery)) {
    const level = (bodyOrLevel as LogLevel | undefined) ?? 'info';
    return new Push(dbProvider, handler, consoleLog(level)).answer({request: requestOrQuery});
  }
  const push = new Push(dbProvider, handler, consoleLog(logLevel ?? 'info'));
  return push.answer({query: requestOrQuery ?? {}, body: bodyOrLevel});
}

type PushSource = {readonly request: Request} | {readonly query: QueryParams; readonly body: unknown};

class Push<TTransaction> {
  readonly #database: Database<TTransaction>;
  readonly #handler: MutationHandler<TTransaction>;
  readonly #log: Log;

  constructor(database: Database<TTransaction>, handler: MutationHandler<TTransaction>, log: Log) {
    this.#database = database;
    this.#handler = handler;
    this.#log = log;
  }

  async answer(source: PushSource): Promise<MutateResponse> {
    let json: unknown;
    let body: PushBody;
    let params: PushParams;
    try {
      json = 'request' in source ? await readJSON(source.request) : source.body;
      params = parsePushParams('request' in source ? new URL(source.request.url).searchParams : source.query);
      body = parsePushBody(json);
    } catch (error) {
      return this.#failed('parse', `The push could not be read: ${messageOf(error)}`, recognisableMutationIDs(json));
    }
    if (body.pushVersion !== 1) {
      const ids = body.mutations.map(mutationID);
      return this.#failed('unsupportedPushVersion', `Push version ${body.pushVersion} is not supported`, ids);
    }
    return this.#run(body, params);
  }

  async #run(body: PushBody, params: PushParams): Promise<MutateResponse> {
    const done: MutationResponse[] = [];
    for (const [index, mutation] of body.mutations.entries()) {
      if (mutation.name === CLEANUP_RESULTS) {
        await this.#cleanUp(mutation, body, params);
        continue;
      }
      const runner = new MutationRunner(this.#database, params.schema, body.clientGroupID, mutation, this.#log);
      try {
        done.push(await runner.run(this.#handler));
      } catch (error) {
        const remaining = body.mutations.slice(index).filter(({name}) => name !== CLEANUP_RESULTS);
        return this.#failed(reasonOf(error), messageOf(error), remaining.map(mutationID), error);
      }
    }
    return {kind: 'MutateResponse', mutations: done};
  }

  /** Deletes results that clients have seen. Nobody waits for it: what fails is tried again by a later one. */
  async #cleanUp(mutation: CustomMutation, body: PushBody, params: PushParams): Promise<void> {
    try {
      const args = parseCleanupResults(mutation.args[0]);
      if (args.clientGroupID !== body.clientGroupID) {
        throw new ShapeError('The results to delete belong to another client group');
      }
      const input = {
        upstreamSchema: params.schema,
        clientGroupID: body.clientGroupID,
        clientID: mutation.clientID,
        mutationID: mutation.id,
      };
      await this.#database.transaction((_tx, hooks) => hooks.deleteMutationResults(args), input);
    } catch (error) {
      this.#log.warn(`stored results were not deleted: ${messageOf(error)}`);
    }
  }

  #failed(reason: PushFailedReason, message: string, mutationIDs: readonly MutationID[], ...details: unknown[]): PushFailed {
    this.#log.error(`push failed (${reason}): ${message}`, ...details);
    return {kind: 'PushFailed', origin: 'server', reason, message, mutationIDs};
  }
}

function mutationID({clientID, id}: CustomMutation): MutationID {
  return {clientID, id};
}

function reasonOf(error: unknown): PushFailedReason {
  if (error instanceof OutOfOrderMutation) {
    return 'oooMutation';
  }
  return error instanceof DatabaseError ? 'database' : 'internal';
}

async function readJSON(request: Request): Promise<unknown> {
  const text = await request.text();
  try {
    return JSON.parse(text);
  } catch {
    throw new ShapeError('the body is not JSON');
  }
}
