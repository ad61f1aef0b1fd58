/** Runs a mutator on the core's branch: the transaction it is given, and how it ends. */
import type {Core, SettleError} from './core/core.js';
import type {HostEffect} from './core/effects.js';
import {shapeOf} from './core/view-tree.js';
import type {ReadonlyJSONValue} from './json.js';
import {type CRUDOp, makeCRUD} from './mutate/crud.js';
import {type AnyMutatorRegistry, getMutator} from './mutate/mutator-registry.js';
import {errorToMutatorResult} from './mutate/mutator-result.js';
import type {AnyTransaction} from './mutate/transaction.js';
import {asQueryInternals} from './query/internals.js';
import {type AnyQueryOrRequest, toQuery} from './query/query-registry.js';
import type {RunOptions} from './query/run-options.js';
import type {Schema} from './schema/schema.js';

/** What all mutators of a client run with. */
export interface MutatorSurroundings {
  readonly schema: Schema;
  readonly mutators: AnyMutatorRegistry | undefined;
  readonly context: unknown;
  readonly auth: string | undefined;
}

type RunMutator = Extract<HostEffect, {type: 'runMutator'}>;

/**
 * Starts the mutator in this very turn and settles it when it has ended.
 * `given` holds the arguments as the application gave them, when the call was made in this page.
 */
export function runMutator(
  core: Core,
  surroundings: MutatorSurroundings,
  request: RunMutator,
  given: {readonly args: ReadonlyJSONValue | undefined} | undefined,
): void {
  const settle = (error: SettleError | undefined) => {
    try {
      core.settle(request.tx, error);
    } catch (closed) {
      // The client ended while the mutator ran: everyone concerned has been told.
      void closed;
    }
  };
  const {mutators, context} = surroundings;
  const mutator = mutators && getMutator(mutators, request.name);
  if (mutator === undefined) {
    settle({type: 'zero', message: `Mutator not found: ${request.name}`, detailsJSON: undefined});
    return;
  }
  const tx = transaction(core, surroundings, request);
  if (given === undefined && request.argsJSON === undefined) {
    settle({type: 'zero', message: `The arguments of ${request.name} are lost.`, detailsJSON: undefined});
    return;
  }
  const args = given === undefined ? storedArgs(request.argsJSON!) : given.args;
  mutator.fn({tx, args, ctx: context}).then(
    () => settle(undefined),
    (error: unknown) => settle(settleError(error)),
  );
}

// A missing argument is stored, and sent, as null.
function storedArgs(argsJSON: string): ReadonlyJSONValue | undefined {
  return (JSON.parse(argsJSON) as ReadonlyJSONValue[])[0] ?? undefined;
}

function settleError(thrown: unknown): SettleError {
  const {error} = errorToMutatorResult(thrown);
  const details = error.type === 'app' ? error.details : undefined;
  return {type: error.type, message: error.message, detailsJSON: details === undefined ? undefined : JSON.stringify(details)};
}

function transaction(core: Core, surroundings: MutatorSurroundings, request: RunMutator): AnyTransaction {
  const {schema, context, auth} = surroundings;
  const {tx, reason, clientID, mutationID} = request;
  // Async, so that a refused write rejects the promise that the mutator awaits.
  const write = async ({op, table, value}: CRUDOp) => {
    core.write(tx, table, op, rowJSON(value));
  };
  const run = async (query: AnyQueryOrRequest, options?: RunOptions) => {
    if (options?.type === 'complete') {
      throw new Error('Cannot wait for complete results in custom mutations');
    }
    const {ast, format} = asQueryInternals(toQuery(query, context));
    return core.read(tx, ast, shapeOf(ast, format));
  };
  return {
    location: 'client',
    reason,
    clientID,
    mutationID,
    token: auth,
    mutate: makeCRUD(schema, write),
    run,
  } as unknown as AnyTransaction;
}

function isPlain(value: unknown): boolean {
  return value === null || typeof value === 'string' || typeof value === 'boolean' || Number.isFinite(value);
}

// JSON has no NaN and no Infinity: as null they would quietly become another value.
function rowJSON(value: object): string {
  // Only values of JSON columns can hold one: everything else has been checked, and a replacer is slow.
  if (Object.values(value).every(isPlain)) {
    return JSON.stringify(value);
  }
  return JSON.stringify(value, (key, member: unknown) => {
    if (typeof member === 'number' && !Number.isFinite(member)) {
      throw new TypeError(`The value of "${key}" is ${member}, which cannot be stored.`);
    }
    return member;
  });
}
