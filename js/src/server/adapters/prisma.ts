import type {DBTransaction} from '../../mutate/transaction.js';
import type {Schema} from '../../schema/schema.js';
import {AdapterTransaction, type ResultRows, runToCommit} from '../adapter-transaction.js';
import type {DBConnection} from '../database.js';
import {ZQLDatabase} from '../zql-database.js';

export type {ZQLDatabase};

/** What this adapter needs of a transaction of a generated Prisma client. */
export interface PrismaTransactionLike {
  $queryRawUnsafe(sql: string, ...args: any[]): PromiseLike<unknown>;
}

/** What this adapter needs of a generated Prisma client. */
export interface PrismaClientLike<TTransaction extends PrismaTransactionLike = PrismaTransactionLike> {
  $transaction<R>(callback: (tx: TTransaction) => Promise<R>, options?: any): Promise<R>;
}

/** The transaction of a Prisma client: for `ServerTransaction<Schema, PrismaTransaction<typeof client>>`. */
export type PrismaTransaction<TClient = PrismaClientLike> = TClient extends {
  $transaction<R>(callback: (tx: infer TTransaction) => Promise<R>, options?: any): Promise<R>;
}
  ? TTransaction
  : PrismaTransactionLike;

/** Runs transactions on a Prisma client; how long they may take is the client's `transactionOptions`. */
export class PrismaConnection<TTransaction extends PrismaTransactionLike> implements DBConnection<TTransaction> {
  readonly #client: PrismaClientLike<TTransaction>;

  constructor(client: PrismaClientLike<TTransaction>) {
    this.#client = client;
  }

  transaction<R>(callback: (tx: DBTransaction<TTransaction>) => Promise<R>): Promise<R> {
    return this.#client.$transaction(tx => {
      // A statement that returns no rows is answered with an empty list as well.
      const run = async (sql: string, args: unknown[]) => (await tx.$queryRawUnsafe(sql, ...args)) as ResultRows;
      return runToCommit(new AdapterTransaction(tx, run), callback);
    });
  }
}

/**
 * A Postgres database through a generated Prisma client.
 *
 * ```ts
 * const dbProvider = zeroPrisma(schema, new PrismaClient({adapter: new PrismaPg({connectionString})}));
 * ```
 */
export function zeroPrisma<S extends Schema, TClient extends PrismaClientLike<any>>(
  schema: S,
  client: TClient,
): ZQLDatabase<S, PrismaTransaction<TClient>> {
  return new ZQLDatabase(new PrismaConnection<any>(client), schema) as ZQLDatabase<S, PrismaTransaction<TClient>>;
}
