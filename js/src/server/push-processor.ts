import {getMutator, isMutator, isMutatorRegistry, type AnyMutatorRegistry} from '../mutate/mutator-registry.js';
import type {AnyCustomMutator, CustomMutatorDefs} from '../mutate/legacy-mutators.js';
import type {AnyTransaction} from '../mutate/transaction.js';
import type {Database} from './database.js';
import {handleMutateRequest, type QueryParams} from './handle-mutate-request.js';
import type {LogLevel} from './log.js';
import type {MutateResponse} from './mutate-response.js';
import type {Transact} from './mutation-runner.js';
import {isRequest} from './web-request.js';

/** Runs pushes against a set of mutators, without a handler of the application's own. */
export class PushProcessor<TTransaction extends AnyTransaction, TContext = unknown> {
  readonly #database: Database<TTransaction>;
  readonly #context: TContext | undefined;
  readonly #logLevel: LogLevel;

  constructor(database: Database<TTransaction>, context?: TContext, logLevel: LogLevel = 'info') {
    this.#database = database;
    this.#context = context;
    this.#logLevel = logLevel;
  }

  /** Runs the mutations of one push; takes the request, or its query parameters and its body. */
  process(mutators: AnyMutatorRegistry | CustomMutatorDefs, request: Request): Promise<MutateResponse>;
  process(
    mutators: AnyMutatorRegistry | CustomMutatorDefs,
    query: QueryParams,
    body: unknown,
  ): Promise<MutateResponse>;
  process(
    mutators: AnyMutatorRegistry | CustomMutatorDefs,
    requestOrQuery: Request | QueryParams,
    body?: unknown,
  ): Promise<MutateResponse> {
    const handler = (transact: Transact<TTransaction>) =>
      transact((tx, name, args) => getMutation(mutators, name)(tx, args, this.#context));
    return isRequest(requestOrQuery)
      ? handleMutateRequest(this.#database, handler, requestOrQuery, this.#logLevel)
      : handleMutateRequest(this.#database, handler, requestOrQuery, body, this.#logLevel);
  }
}

/**
 * The mutator of this name as a plain function; throws if there is none.
 *
 * @deprecated Use `mustGetMutator` with a registry.
 */
export function getMutation(mutators: AnyMutatorRegistry | CustomMutatorDefs, name: string): AnyCustomMutator {
  const path = name.split(/[.|]/);
  const found = isMutatorRegistry(mutators) ? getMutator(mutators, path.join('.')) : entryAt(mutators, path);
  if (isMutator(found)) {
    return (tx, args, ctx) => found.fn({tx, args, ctx});
  }
  if (typeof found === 'function') {
    return found as AnyCustomMutator;
  }
  throw new Error(`could not find mutator ${name}`);
}

function entryAt(tree: CustomMutatorDefs, path: readonly string[]): unknown {
  let entry: unknown = tree;
  for (const part of path) {
    if (typeof entry !== 'object' || entry === null || !Object.hasOwn(entry, part)) {
      return undefined;
    }
    entry = (entry as {[name: string]: unknown})[part];
  }
  return entry;
}
