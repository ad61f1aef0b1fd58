/** Runs a mutator on the core's branch: the transaction it is given, and how it ends. */
import {detailsOf} from './application-error.js';
import type {Core, SettleError} from './core/core.js';
import type {ReadonlyJSONValue} from './json.js';
import {messageOf} from './landfall-error.js';
import {type CRUDOp, makeCRUD} from './mutate/crud.js';
import type {KnownMutators} from './mutate/legacy-mutators.js';
import type {AnyMutator} from './mutate/mutator-registry.js';
import type {AnyTransaction} from './mutate/transaction.js';
import {builderFor} from './query/create-builder.js';
import {asQueryInternals} from './query/internals.js';
import {type AnyQueryOrRequest, toQuery} from './query/query-registry.js';
import type {RunOptions} from './query/run-options.js';
import type {RunChain} from './run-chain.js';
import type {Schema} from './schema/schema.js';

/** What all mutators of a client run with. */
export interface MutatorSurroundings {
  readonly schema: Schema;
  readonly mutators: KnownMutators;
  readonly context: unknown;
  readonly auth: string | undefined;
  readonly chain: RunChain;
}

/** A run that the core asks for. */
export interface Run {
  readonly tx: number;
  readonly reason: 'optimistic' | 'rebase';
  readonly clientID: string;
  readonly mutationID: number;
}

/** Starts the mutator in this very turn and settles it when it has ended. */
export function runMutator(
  core: Core,
  surroundings: MutatorSurroundings,
  run: Run,
  mutator: AnyMutator,
  args: ReadonlyJSONValue | undefined,
  threw?: (error: unknown) => void,
): void {
  const {chain, context} = surroundings;
  const tx = transaction(core, surroundings, run);
  const hasTurns = () => core.hasTurns();
  chain.begins();
  mutator.fn({tx, args, ctx: context}).then(
    () => chain.ends(hasTurns, () => settle(core, run.tx, undefined)),
    (error: unknown) => {
      threw?.(error);
      chain.ends(hasTurns, () => settle(core, run.tx, settleError(error)));
    },
  );
}

/** Runs what another page or session has called. */
export function runStoredMutator(
  core: Core,
  surroundings: MutatorSurroundings,
  run: Run & {readonly name: string; readonly argsJSON: string},
): void {
  const mutator = surroundings.mutators.find(run.name);
  if (mutator === undefined) {
    settle(core, run.tx, {type: 'zero', message: `Mutator not found: ${run.name}`, detailsJSON: undefined});
  } else {
    // A missing argument is stored, and sent, as null.
    runMutator(core, surroundings, run, mutator, (JSON.parse(run.argsJSON) as ReadonlyJSONValue[])[0] ?? undefined);
  }
}

function settle(core: Core, tx: number, error: SettleError | undefined): void {
  try {
    core.settle(tx, error);
  } catch (closed) {
    // The client ended while the mutator ran: everyone concerned has been told.
    void closed;
  }
}

function settleError(thrown: unknown): SettleError {
  const details = detailsOf(thrown);
  return {type: 'app', message: messageOf(thrown), detailsJSON: details === undefined ? undefined : JSON.stringify(details)};
}

const done: Promise<void> = Promise.resolve();

function transaction(core: Core, surroundings: MutatorSurroundings, request: Run): AnyTransaction {
  const {schema, context, auth} = surroundings;
  const {tx, reason, clientID, mutationID} = request;
  const write = ({op, table, value}: CRUDOp) => {
    core.write(tx, table, op, rowJSON(value));
    return done;
  };
  const run = async (query: AnyQueryOrRequest, options?: RunOptions) => {
    if (options?.type === 'complete') {
      throw new Error('Cannot wait for complete results in custom mutations');
    }
    const {astJSON, shape} = asQueryInternals(toQuery(query, context));
    return core.read(tx, astJSON, shape);
  };
  let query: object | undefined;
  return {
    location: 'client',
    reason,
    clientID,
    mutationID,
    token: auth,
    mutate: makeCRUD(schema, write),
    run,
    get query() {
      return schema.enableLegacyQueries ? (query ??= builderFor(schema, {schema, system: 'client', runner: {run}})) : undefined;
    },
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
