import type {ServerTransaction, DBTransaction} from '../../mutate/transaction.js';
import type {Schema} from '../../schema/schema.js';
import {AdapterTransaction} from '../adapter-transaction.js';
import type {DBConnection} from '../database.js';
import {ZQLDatabase} from '../zql-database.js';

export {ZQLDatabase};

/** What this adapter needs of a `Client` of the package `pg`. */
export interface NodePgClient {
  query(sql: string, values?: unknown[]): Promise<{readonly rows: {[column: string]: any}[]; readonly command?: string}>;
  on(event: 'error', listener: (error: Error) => void): unknown;
  off(event: 'error', listener: (error: Error) => void): unknown;
}

/** What this adapter needs of a `PoolClient`. */
export interface NodePgPoolClient extends NodePgClient {
  release(error?: Error | boolean): void;
}

/** What this adapter needs of a `Pool`. */
export interface NodePgPool<TClient extends NodePgPoolClient = NodePgPoolClient> {
  connect(): Promise<TClient>;
  readonly totalCount: number;
}

/** The transaction of a mutator that runs on the package `pg`. */
export type NodePgTransaction<S extends Schema, TClient extends NodePgClient = NodePgClient> = ServerTransaction<
  S,
  TClient
>;

/** Runs transactions on a pool, or on one client, where they wait for each other. */
export class NodePgConnection<TClient extends NodePgClient> implements DBConnection<TClient> {
  readonly #source: () => Promise<NodePgPool<NodePgPoolClient & TClient> | TClient>;
  #last: Promise<unknown> = Promise.resolve();

  constructor(source: () => Promise<NodePgPool<NodePgPoolClient & TClient> | TClient>) {
    this.#source = source;
  }

  async transaction<R>(callback: (tx: DBTransaction<TClient>) => Promise<R>): Promise<R> {
    const source = await this.#source();
    if (isPool(source)) {
      return this.#onPool(source, callback);
    }
    const result = this.#last.then(() => inTransaction(source, callback, () => {}));
    this.#last = result.catch(() => {});
    return result;
  }

  async #onPool<R>(
    pool: NodePgPool<TClient & NodePgPoolClient>,
    callback: (tx: DBTransaction<TClient>) => Promise<R>,
  ): Promise<R> {
    const client = await pool.connect();
    let broken: Error | undefined;
    // A client that loses its connection while it is lent out says so by an event, which unheard ends the process.
    const onError = (error: Error) => {
      broken = error;
    };
    client.on('error', onError);
    try {
      return await inTransaction<TClient, R>(client, callback, onError);
    } finally {
      client.off('error', onError);
      // A client whose transaction could not be ended must not be lent out again.
      client.release(broken);
    }
  }
}

async function inTransaction<TClient extends NodePgClient, R>(
  client: TClient,
  callback: (tx: DBTransaction<TClient>) => Promise<R>,
  onBroken: (error: Error) => void,
): Promise<R> {
  await client.query('BEGIN');
  let result: R;
  try {
    result = await callback(new AdapterTransaction(client, async (sql, args) => (await client.query(sql, args)).rows));
  } catch (error) {
    await client.query('ROLLBACK').catch(onBroken);
    throw error;
  }
  const {command} = await client.query('COMMIT').catch(error => {
    onBroken(error);
    throw error;
  });
  // Postgres answers COMMIT with a rollback when a statement had failed and the callback went on regardless.
  if (command === 'ROLLBACK') {
    throw new Error('The transaction was rolled back because one of its statements had failed');
  }
  return result;
}

function isPool<TClient extends NodePgClient>(
  source: NodePgPool<TClient & NodePgPoolClient> | TClient,
): source is NodePgPool<TClient & NodePgPoolClient> {
  return 'totalCount' in source && typeof source.totalCount === 'number';
}

/** The client type of a pool; `connect` is overloaded there, and may be simpler in a stand-in. */
type ClientOf<TPool> = TPool extends {connect: {(): Promise<infer C extends NodePgClient>; (...args: any[]): any}}
  ? C
  : TPool extends {connect(): Promise<infer C extends NodePgClient>}
    ? C
    : NodePgClient;

/**
 * A database through the package `pg`: give it a `Pool`, a connected `Client`, or a URL.
 *
 * ```ts
 * const dbProvider = zeroNodePg(schema, new Pool({connectionString: process.env.DATABASE_URL}));
 * ```
 */
export function zeroNodePg<S extends Schema>(schema: S, url: string): ZQLDatabase<S, NodePgPoolClient>;
export function zeroNodePg<S extends Schema, TPool extends NodePgPool<any>>(
  schema: S,
  pool: TPool,
): ZQLDatabase<S, ClientOf<TPool>>;
export function zeroNodePg<S extends Schema, TClient extends NodePgClient>(
  schema: S,
  client: TClient,
): ZQLDatabase<S, TClient>;
export function zeroNodePg<S extends Schema>(
  schema: S,
  source: NodePgPool | NodePgClient | string,
): ZQLDatabase<S, NodePgClient> {
  if (typeof source !== 'string') {
    const ready = Promise.resolve(source);
    return new ZQLDatabase<S, NodePgClient>(new NodePgConnection(() => ready), schema);
  }
  let pool: Promise<NodePgPool> | undefined;
  return new ZQLDatabase<S, NodePgClient>(new NodePgConnection(() => (pool ??= openPool(source))), schema);
}

async function openPool(connectionString: string): Promise<NodePgPool<NodePgPoolClient>> {
  const {default: pg} = await import('pg');
  const pool = new pg.Pool({connectionString});
  // An idle connection that breaks is dropped by the pool itself; unheard, the event would end the process.
  pool.on('error', () => {});
  return pool;
}
