import type {DBTransaction} from '../../mutate/transaction.js';
import type {Schema} from '../../schema/schema.js';
import {AdapterTransaction, runToCommit} from '../adapter-transaction.js';
import type {DBConnection} from '../database.js';
import {ZQLDatabase} from '../zql-database.js';

export {ZQLDatabase};

/** What this adapter needs of a transaction of the package `postgres`. */
export interface PostgresJSTransactionSql {
  unsafe(sql: string, args?: any[]): PromiseLike<Iterable<{[column: string]: any}>>;
}

/** What this adapter needs of the package `postgres`. */
export interface PostgresJSSql<TTransaction extends PostgresJSTransactionSql = PostgresJSTransactionSql> {
  begin(callback: (sql: TTransaction) => any): Promise<any>;
}

/** What a mutator's own SQL can ask of the package `postgres`: for `ServerTransaction<Schema, PostgresJsTransaction>`. */
export interface PostgresJsTransaction<_TTypes extends Record<string, unknown> = Record<string, unknown>>
  extends PostgresJSTransactionSql
{
  <TRows extends readonly (object | undefined)[] = any[]>(template: TemplateStringsArray, ...values: any[]): PromiseLike<TRows>;
  /** Names, lists and rows for a template. */
  (first: any, ...rest: any[]): any;
}

/** Runs transactions on a `postgres` client, which pools its own connections; a function gives it when it is needed. */
export class PostgresJSConnection<
  TTypes extends Record<string, unknown> = Record<string, unknown>,
  TTransaction extends PostgresJSTransactionSql = PostgresJsTransaction<TTypes>,
> implements DBConnection<TTransaction>
{
  readonly #source: () => PostgresJSSql<TTransaction> | Promise<PostgresJSSql<TTransaction>>;

  constructor(source: PostgresJSSql<TTransaction> | (() => Promise<PostgresJSSql<TTransaction>>)) {
    // The client is a function as well.
    this.#source = 'begin' in source ? () => source : source;
  }

  async transaction<R>(callback: (tx: DBTransaction<TTransaction>) => Promise<R>): Promise<R> {
    const sql = await this.#source();
    // `begin` awaits each element of an array that it is given; a result that is an array must stay itself.
    const {result} = (await sql.begin(async tx => ({
      result: await runToCommit(new PostgresJsTransactionInternal(tx), callback),
    }))) as {result: R};
    return result;
  }
}

/** A transaction that has begun; who made it also ends it. */
export class PostgresJsTransactionInternal<TTransaction extends PostgresJSTransactionSql = PostgresJsTransaction> extends AdapterTransaction<TTransaction> {
  constructor(tx: TTransaction) {
    super(tx, (sql, args) => tx.unsafe(sql, args));
  }
}

/** The transaction type of a client; `begin` is overloaded there, and may be simpler in a stand-in. */
type TransactionOf<TSql> = TSql extends {begin(options: string, callback: (sql: infer T) => any): any}
  ? T
  : TSql extends {begin(callback: (sql: infer T) => any): any}
    ? T
    : never;

/**
 * A database through the package `postgres`: give it the client or a URL.
 *
 * ```ts
 * const dbProvider = zeroPostgresJS(schema, postgres(process.env.DATABASE_URL));
 * ```
 */
export function zeroPostgresJS<S extends Schema>(
  schema: S,
  url: string,
): ZQLDatabase<S, PostgresJSTransactionSql>;
export function zeroPostgresJS<S extends Schema, TSql extends PostgresJSSql<any>>(
  schema: S,
  sql: TSql,
): ZQLDatabase<S, TransactionOf<TSql>>;
export function zeroPostgresJS<S extends Schema>(
  schema: S,
  source: PostgresJSSql | string,
): ZQLDatabase<S, PostgresJSTransactionSql> {
  if (typeof source !== 'string') {
    return new ZQLDatabase(new PostgresJSConnection(source), schema);
  }
  let client: Promise<PostgresJSSql> | undefined;
  return new ZQLDatabase(new PostgresJSConnection(() => (client ??= openClient(source))), schema);
}

async function openClient(url: string): Promise<PostgresJSSql> {
  const {default: postgres} = await import('postgres');
  return postgres(url);
}
