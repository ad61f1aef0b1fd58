// The package `pg` is optional and brings no types of its own; only what is used of it is described.
declare module 'pg' {
  type Client = import('./pg.js').NodePgClient & import('./pg.js').NodePgTransaction & {
    connect(): Promise<void>;
    end(): Promise<void>;
  };
  type Pool = import('./pg.js').NodePgPool<import('./pg.js').NodePgPoolClient & import('./pg.js').NodePgTransaction> & {
    query: import('./pg.js').NodePgTransaction['query'];
    on(event: 'error', listener: (error: Error) => void): unknown;
    on(event: 'connect', listener: (client: import('./pg.js').NodePgPoolClient) => void): unknown;
    end(): Promise<void>;
  };
  const pg: {
    readonly Pool: new (config: {readonly connectionString: string; readonly max?: number}) => Pool;
    readonly Client: new (config: {readonly connectionString: string}) => Client;
  };
  export default pg;
}
