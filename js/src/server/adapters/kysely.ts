import {CompiledQuery, type Kysely, type Transaction} from 'kysely';
import type {DBTransaction, ServerTransaction} from '../../mutate/transaction.js';
import type {Schema} from '../../schema/schema.js';
import {AdapterTransaction, type ResultRows, runToCommit} from '../adapter-transaction.js';
import type {DBConnection} from '../database.js';
import {ZQLDatabase} from '../zql-database.js';

export type {ZQLDatabase};

/** A Kysely client. */
export type KyselyDatabase<TDatabase = unknown> = Kysely<TDatabase>;

/** The transaction of a Kysely client, or of the type of its database: for `ServerTransaction<Schema, KyselyTransaction<typeof db>>`. */
export type KyselyTransaction<TClientOrDatabase = KyselyDatabase> =
  TClientOrDatabase extends Kysely<infer TDatabase> ? Transaction<TDatabase> : Transaction<TClientOrDatabase>;

/** The transaction of a mutator that runs on Kysely. */
export type KyselyServerTransaction<S extends Schema, TDatabase = unknown> = ServerTransaction<S, Transaction<TDatabase>>;

/** Runs transactions on a Kysely client. */
export class KyselyConnection<TDatabase> implements DBConnection<Transaction<TDatabase>> {
  readonly #client: Kysely<TDatabase>;

  constructor(client: Kysely<TDatabase>) {
    this.#client = client;
  }

  transaction<R>(callback: (tx: DBTransaction<Transaction<TDatabase>>) => Promise<R>): Promise<R> {
    return this.#client.transaction().execute(tx => {
      const run = async (sql: string, args: unknown[]) =>
        (await tx.executeQuery(CompiledQuery.raw(sql, args))).rows as ResultRows;
      return runToCommit(new AdapterTransaction(tx, run), callback);
    });
  }
}

/**
 * A Postgres database through the package `kysely`.
 *
 * ```ts
 * const db = new Kysely<Database>({dialect: new PostgresDialect({pool: new Pool({connectionString})})});
 * const dbProvider = zeroKysely(schema, db);
 * ```
 */
export function zeroKysely<S extends Schema, TDatabase>(
  schema: S,
  client: Kysely<TDatabase>,
): ZQLDatabase<S, Transaction<TDatabase>> {
  return new ZQLDatabase(new KyselyConnection(client), schema);
}
