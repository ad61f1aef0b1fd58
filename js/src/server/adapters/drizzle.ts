import type {DBTransaction} from '../../mutate/transaction.js';
import type {Schema} from '../../schema/schema.js';
import {AdapterTransaction, type ResultRows, runToCommit} from '../adapter-transaction.js';
import type {DBConnection} from '../database.js';
import {ZQLDatabase} from '../zql-database.js';

export type {ZQLDatabase};

/** What this adapter needs of a transaction of the package `drizzle-orm`. */
export interface DrizzleTransactionLike {
  execute(query: any): PromiseLike<unknown>;
}

/** What this adapter needs of a database of the package `drizzle-orm`, whatever its driver. */
export interface DrizzleDatabase<TTransaction extends DrizzleTransactionLike = DrizzleTransactionLike> {
  transaction<R>(callback: (tx: TTransaction) => Promise<R>, config?: never): Promise<R>;
}

type Selected<TTable> = TTable extends {readonly $inferSelect: infer TRow} ? TRow : {readonly [column: string]: unknown};

/** What is known of a transaction when only the tables are. */
type TransactionOfTables<TTables> = DrizzleTransactionLike & {
  readonly query: {
    readonly [T in keyof TTables]: {findFirst(config?: unknown): PromiseLike<Selected<TTables[T]> | undefined>};
  };
};

/** The transaction of a drizzle database, or of its tables: for `ServerTransaction<Schema, DrizzleTransaction<typeof db>>`. */
export type DrizzleTransaction<TDatabaseOrTables = {readonly [table: string]: unknown}> =
  TDatabaseOrTables extends DrizzleDatabase<infer TTransaction> ? TTransaction : TransactionOfTables<TDatabaseOrTables>;

/** Runs transactions on a drizzle database. */
export class DrizzleConnection<TDatabase, TTransaction extends DrizzleTransactionLike = DrizzleTransaction<TDatabase>>
  implements DBConnection<TTransaction>
{
  readonly #database: DrizzleDatabase<TTransaction>;

  constructor(database: TDatabase & DrizzleDatabase<TTransaction>) {
    this.#database = database;
  }

  transaction<R>(callback: (tx: DBTransaction<TTransaction>) => Promise<R>): Promise<R> {
    return this.#database.transaction(tx => {
      const run = async (sql: string, args: unknown[]) => toIterableRows(await tx.execute(statement(sql, args)));
      return runToCommit(new AdapterTransaction(tx, run), callback);
    });
  }
}

// What drizzle's `sql` makes is asked for its text in the end; this has it already.
function statement(sql: string, params: unknown[]): object {
  const ready = {getSQL: () => ready, toQuery: () => ({sql, params})};
  return ready;
}

/** The rows of what `execute` answered: the drivers do it each in its own way. */
export function toIterableRows(result: unknown): ResultRows {
  const rows = isIterable(result) ? result : (result as {readonly rows?: unknown} | null | undefined)?.rows;
  if (!isIterable(rows)) {
    throw new TypeError('The driver of drizzle answered with something that has no rows.');
  }
  return rows as ResultRows;
}

function isIterable(value: unknown): value is Iterable<unknown> {
  return typeof value === 'object' && value !== null && Symbol.iterator in value;
}

/**
 * A Postgres database through the package `drizzle-orm`.
 *
 * ```ts
 * const dbProvider = zeroDrizzle(schema, drizzle(new Pool({connectionString}), {schema: tables}));
 * ```
 */
export function zeroDrizzle<
  S extends Schema,
  TDatabase,
  TTransaction extends DrizzleTransactionLike = DrizzleTransaction<TDatabase>,
>(schema: S, database: TDatabase & DrizzleDatabase<TTransaction>): ZQLDatabase<S, TTransaction> {
  return new ZQLDatabase(new DrizzleConnection<TDatabase, TTransaction>(database), schema);
}
