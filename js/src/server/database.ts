import type {DBTransaction} from '../mutate/transaction.js';
import type {MutationResponse} from './mutate-response.js';
import type {CleanupResultsArgs} from './push-request.js';

/** A connection to a database, as an adapter provides it. */
export interface DBConnection<TWrapped> {
  /** Runs the callback in a transaction: commits when it resolves, rolls back when it rejects. */
  transaction<R>(callback: (tx: DBTransaction<TWrapped>) => Promise<R>): Promise<R>;
}

/** Which mutation a transaction belongs to. */
export interface TransactionProviderInput {
  /** The schema that holds the bookkeeping tables. */
  readonly upstreamSchema: string;
  readonly clientGroupID: string;
  readonly clientID: string;
  readonly mutationID: number;
}

/** The bookkeeping of mutations, in the same transaction as their writes. */
export interface TransactionProviderHooks {
  /** Adds one to the client's last mutation id and returns it. */
  updateClientMutationID(): Promise<{lastMutationID: number | bigint}>;
  /** Stores the result of a mutation that failed. */
  writeMutationResult(result: MutationResponse): Promise<void>;
  /** Deletes stored results. */
  deleteMutationResults(args: CleanupResultsArgs): Promise<void>;
}

/** What the request handlers need of a database; implement it to bring your own. */
export interface Database<TTransaction> {
  /**
   * Runs the callback in a transaction: commits when it resolves, rolls back when it rejects.
   *
   * The hooks work only when `input` is given.
   */
  transaction<R>(
    callback: (tx: TTransaction, hooks: TransactionProviderHooks) => R | Promise<R>,
    input?: TransactionProviderInput,
  ): Promise<R>;
}

/** The transaction type of a database. */
export type ExtractTransactionType<D> = D extends Database<infer T> ? T : never;
