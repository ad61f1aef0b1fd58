import type {DBTransaction} from '../../mutate/transaction.js';
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

/** What a mutator's own SQL can ask of a client of `pg`: for `ServerTransaction<Schema, NodePgTransaction>`. */
export interface NodePgTransaction {
  query<TRow extends {[column: string]: any} = any>(
    sql: string | {text: string; values?: any[]; name?: string},
    values?: any[],
  ): Promise<{rows: TRow[]; rowCount: number | null; command: string}>;
}

type NodePgSource = NodePgPool<any> | NodePgClient;

/** Runs transactions on a pool, or on one client, where they wait for each other; a function gives it when it is needed. */
export class NodePgConnection<TSource extends NodePgSource = NodePgSource> implements DBConnection<ClientOf<TSource>> {
  readonly #source: () => TSource | Promise<TSource>;
  #last: Promise<unknown> = Promise.resolve();

  constructor(source: TSource | (() => Promise<TSource>)) {
    this.#source = typeof source === 'function' ? source : () => source;
  }

  async transaction<R>(callback: (tx: DBTransaction<ClientOf<TSource>>) => Promise<R>): Promise<R> {
    const source: NodePgSource = await this.#source();
    if (isPool(source)) {
      return this.#onPool(source, callback);
    }
    const result = this.#last.then(() => inTransaction(source as ClientOf<TSource>, callback, () => {}));
    this.#last = result.catch(() => {});
    return result;
  }

  async #onPool<R>(
    pool: NodePgPool<ClientOf<TSource> & NodePgPoolClient>,
    callback: (tx: DBTransaction<ClientOf<TSource>>) => Promise<R>,
  ): Promise<R> {
    const client = await pool.connect();
    let broken: Error | undefined;
    // A client that loses its connection while it is lent out says so by an event, which unheard ends the process.
    const onError = (error: Error) => {
      broken = error;
    };
    client.on('error', onError);
    try {
      return await inTransaction<ClientOf<TSource>, R>(client, callback, onError);
    } finally {
      client.off('error', onError);
      // A client whose transaction could not be ended must not be lent out again.
      client.release(broken);
    }
  }
}

/** A client in a transaction that has begun; who made it also ends it. */
export class NodePgTransactionInternal<TClient extends Pick<NodePgClient, 'query'> = NodePgTransaction> extends AdapterTransaction<TClient> {
  constructor(client: TClient) {
    super(client, async (sql, args) => (await client.query(sql, args)).rows);
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
    result = await callback(new NodePgTransactionInternal(client));
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

function isPool(source: NodePgSource): source is NodePgPool<any> {
  return 'totalCount' in source && typeof source.totalCount === 'number';
}

/** The client type of a pool; `connect` is overloaded there, and may be simpler in a stand-in. A client is its own. */
type ClientOf<TSource> = TSource extends {connect: {(): Promise<infer C extends NodePgClient>; (...args: any[]): any}}
  ? C
  : TSource extends {connect(): Promise<infer C extends NodePgClient>}
    ? C
    : TSource extends NodePgClient
      ? TSource
      : NodePgClient;

/**
 * A database through the package `pg`: give it a `Pool`, a connected `Client`, or a URL.
 *
 * ```ts
 * const dbProvider = zeroNodePg(schema, new Pool({connectionString: process.env.DATABASE_URL}));
 * ```
 */
export function zeroNodePg<S extends Schema>(schema: S, url: string): ZQLDatabase<S, NodePgPoolClient & NodePgTransaction>;
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
    return new ZQLDatabase<S, NodePgClient>(new NodePgConnection(source), schema);
  }
  let pool: Promise<NodePgPool> | undefined;
  return new ZQLDatabase<S, NodePgClient>(new NodePgConnection<NodePgPool>(() => (pool ??= openPool(source))), schema);
}

async function openPool(connectionString: string): Promise<NodePgPool<NodePgPoolClient>> {
  const {default: pg} = await import('pg');
  const pool = new pg.Pool({connectionString});
  // An idle connection that breaks is dropped by the pool itself; unheard, the event would end the process.
  pool.on('error', () => {});
  return pool;
}
