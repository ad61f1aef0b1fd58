import type {DefaultSchema} from '../default-types.js';
import type {ReadonlyJSONValue} from '../json.js';
import type {ServerTransaction} from '../mutate/transaction.js';
import type {HumanReadable} from '../query/query.js';
import type {QueryOrQueryRequest} from '../query/query-registry.js';
import type {RunOptions} from '../query/run-options.js';
import type {Schema} from '../schema/schema.js';
import type {
  Database,
  DBConnection,
  TransactionProviderHooks,
  TransactionProviderInput,
} from './database.js';
import {MutationBookkeeping, noBookkeeping} from './mutation-bookkeeping.js';
import {CRUDMutatorFactory} from './server-transaction.js';

/** A Postgres database seen through a schema: what the request handlers take as `dbProvider`. */
export class ZQLDatabase<S extends Schema = DefaultSchema, TWrapped = unknown>
  implements Database<ServerTransaction<S, TWrapped>>
{
  readonly connection: DBConnection<TWrapped>;
  readonly #factory: CRUDMutatorFactory<S>;

  constructor(connection: DBConnection<TWrapped>, schema: S) {
    this.connection = connection;
    this.#factory = new CRUDMutatorFactory(schema);
  }

  /**
   * Runs the callback in a transaction: commits when it resolves, rolls back when it rejects.
   *
   * ```ts
   * await db.transaction(tx => tx.mutate.issue.update({id: '1', open: false}));
   * ```
   */
  async transaction<R>(
    callback: (tx: ServerTransaction<S, TWrapped>, hooks: TransactionProviderHooks) => R | Promise<R>,
    input?: TransactionProviderInput,
  ): Promise<R> {
    try {
      return await this.connection.transaction(async dbTransaction => {
        const clientID = input?.clientID ?? '';
        const tx = await this.#factory.createTransaction(dbTransaction, clientID, input?.mutationID ?? 0);
        const hooks = input === undefined ? noBookkeeping : new MutationBookkeeping(dbTransaction, input);
        return callback(tx, hooks);
      });
    } catch (error) {
      if (mayBeStaleSchema(error)) {
        this.#factory.forgetServerSchema();
      }
      throw error;
    }
  }

  /** Answers one query. */
  run<
    TTable extends keyof TSchema['tables'] & string,
    TInput extends ReadonlyJSONValue | undefined,
    TOutput extends ReadonlyJSONValue | undefined,
    TSchema extends Schema,
    TReturn,
  >(
    query: QueryOrQueryRequest<TTable, TInput, TOutput, TSchema, TReturn, any>,
    options?: RunOptions,
  ): Promise<HumanReadable<TReturn>> {
    return this.transaction(tx => tx.run(query, options));
  }
}

/** Class 42 of SQLSTATE: a name or a type is not what the statement took it for. */
function mayBeStaleSchema(error: unknown): boolean {
  const {code} = (error ?? {}) as {code?: unknown};
  return typeof code === 'string' && /^42...$/.test(code);
}
