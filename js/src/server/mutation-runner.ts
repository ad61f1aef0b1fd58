import {detailsOf} from '../application-error.js';
import type {ReadonlyJSONValue} from '../json.js';
import {messageOf} from '../landfall-error.js';
import type {Database, TransactionProviderHooks} from './database.js';
import {
  DatabaseError,
  isTransient,
  MutationAlreadyProcessed,
  OutOfOrderMutation,
} from './errors.js';
import type {Log} from './log.js';
import type {MutationResponse, MutationResult} from './mutate-response.js';
import type {CustomMutation, MutationID} from './push-request.js';
import {SchemaIncompatibleError} from './server-schema.js';

/** Runs the mutator of one mutation inside a transaction. */
export type MutateCallback<TTransaction> = (
  tx: TTransaction,
  name: string,
  args: ReadonlyJSONValue | undefined,
) => void | Promise<void>;

/** Opens the transaction of one mutation, and says what became of it. May be called once. */
export type Transact<TTransaction> = (callback: MutateCallback<TTransaction>) => Promise<MutationResponse>;

/** The application's handler of one mutation. */
export type MutationHandler<TTransaction> = (
  transact: Transact<TTransaction>,
  mutation: CustomMutation,
) => MutationResponse | Promise<MutationResponse>;

/** Where a transaction had got to when it failed. */
type Phase = 'open' | 'bookkeeping' | 'mutator' | 'commit';

const ATTEMPTS = 4;

/**
 * Runs one mutation exactly once.
 *
 * The last mutation id is written in the same transaction as the mutator's own writes. A mutator that throws is
 * rolled back, and a second transaction passes the id and stores the error. A transaction that failed because the
 * database went away or two transactions collided is run again: whatever happened to the first, the id tells.
 */
export class MutationRunner<TTransaction> {
  readonly #database: Database<TTransaction>;
  readonly #upstreamSchema: string;
  readonly #clientGroupID: string;
  readonly #mutation: CustomMutation;
  readonly #log: Log;

  constructor(
    database: Database<TTransaction>,
    upstreamSchema: string,
    clientGroupID: string,
    mutation: CustomMutation,
    log: Log,
  ) {
    this.#database = database;
    this.#upstreamSchema = upstreamSchema;
    this.#clientGroupID = clientGroupID;
    this.#mutation = mutation;
    this.#log = log;
  }

  get #id(): MutationID {
    return {clientID: this.#mutation.clientID, id: this.#mutation.id};
  }

  /** Hands the mutation to the application's handler. Throws only what ends the whole push. */
  async run(handler: MutationHandler<TTransaction>): Promise<MutationResponse> {
    let transaction: Promise<MutationResponse> | undefined;
    const transact: Transact<TTransaction> = callback => {
      if (transaction !== undefined) {
        return Promise.reject(new Error('transact may be called once for each mutation'));
      }
      transaction = this.#transact(callback);
      // It is awaited below in any case; until then a rejection is not an unhandled one.
      transaction.catch(() => {});
      return transaction;
    };
    try {
      const response = await handler(transact, this.#mutation);
      if (transaction === undefined) {
        throw new Error('The handler of a mutation returned without calling transact');
      }
      await transaction;
      return response;
    } catch (error) {
      return this.#failedOutside(error, transaction);
    }
  }

  /** The handler threw: before the transaction, because of it, or after it. */
  async #failedOutside(error: unknown, transaction: Promise<MutationResponse> | undefined): Promise<MutationResponse> {
    if (transaction === undefined) {
      this.#log.warn(`the handler of ${this.#mutation.name} failed: ${messageOf(error)}`, error);
      return this.#storeFailure(error);
    }
    // If the transaction itself failed for good this throws, and so ends the push.
    const response = await transaction;
    if ('error' in response.result) {
      return response;
    }
    this.#log.error(`the handler of ${this.#mutation.name} threw after its transaction was committed`, error);
    return {id: this.#id, result: appError(error)};
  }

  async #transact(callback: MutateCallback<TTransaction>): Promise<MutationResponse> {
    const {name, args} = this.#mutation;
    try {
      return await this.#attempt(async tx => {
        // A missing argument travels as null; the page's own run of the mutator had undefined.
        await callback(tx, name, args[0] ?? undefined);
        return {};
      });
    } catch (error) {
      if (error instanceof MutatorFailure) {
        this.#log.warn(`mutator ${name} failed: ${messageOf(error.cause)}`, error.cause);
        return this.#storeFailure(error.cause);
      }
      throw error;
    }
  }

  async #storeFailure(error: unknown): Promise<MutationResponse> {
    const result = appError(error);
    try {
      return await this.#attempt(async (_tx, hooks) => {
        await hooks.writeMutationResult({id: this.#id, result});
        return result;
      });
    } catch (failure) {
      // Nothing of the application ran here: whatever went wrong is the database's.
      throw failure instanceof MutatorFailure ? new DatabaseError(failure.cause) : failure;
    }
  }

  /** One transaction that passes the mutation's id; run again while it fails for reasons that pass. */
  async #attempt(
    work: (tx: TTransaction, hooks: TransactionProviderHooks) => Promise<MutationResult>,
  ): Promise<MutationResponse> {
    for (let attempt = 1; ; attempt++) {
      let phase = 'open' as Phase;
      try {
        const result = await this.#database.transaction(async (tx, hooks) => {
          phase = 'bookkeeping';
          await this.#passID(hooks);
          phase = 'mutator';
          const result = await work(tx, hooks);
          phase = 'commit';
          return result;
        }, this.#input());
        return {id: this.#id, result};
      } catch (error) {
        if (error instanceof MutationAlreadyProcessed) {
          this.#log.warn(error.message);
          return {id: this.#id, result: {error: 'alreadyProcessed', details: error.message}};
        }
        if (error instanceof OutOfOrderMutation || error instanceof SchemaIncompatibleError) {
          throw error;
        }
        if (isTransient(error, phase === 'mutator')) {
          if (attempt === ATTEMPTS) {
            throw new DatabaseError(error);
          }
          this.#log.warn(`running ${this.#mutation.name} again: ${messageOf(error)}`);
          await pause(attempt);
        } else if (phase === 'open' || phase === 'bookkeeping') {
          throw new DatabaseError(error);
        } else {
          throw new MutatorFailure(error);
        }
      }
    }
  }

  async #passID(hooks: TransactionProviderHooks): Promise<void> {
    const {clientID, id} = this.#mutation;
    const expected = Number((await hooks.updateClientMutationID()).lastMutationID);
    if (id < expected) {
      throw new MutationAlreadyProcessed(clientID, id, expected);
    }
    if (id > expected) {
      throw new OutOfOrderMutation(clientID, id, expected);
    }
  }

  #input() {
    return {
      upstreamSchema: this.#upstreamSchema,
      clientGroupID: this.#clientGroupID,
      clientID: this.#mutation.clientID,
      mutationID: this.#mutation.id,
    };
  }
}

/** The mutator threw, or what it wrote could not be committed. */
class MutatorFailure extends Error {
  constructor(cause: unknown) {
    super('The mutator failed', {cause});
  }
}

function appError(error: unknown): MutationResult {
  const details = detailsOf(error);
  return {error: 'app', message: messageOf(error), ...(details === undefined ? {} : {details})};
}

function pause(attempt: number): Promise<void> {
  const ms = 25 * 4 ** (attempt - 1);
  return new Promise(resolve => setTimeout(resolve, ms + Math.random() * ms));
}
