// The package `pg` is optional and brings no types of its own.
declare module 'pg' {
  interface Pool extends import('./pg.js').NodePgPool {
    on(event: 'error', listener: (error: Error) => void): unknown;
    end(): Promise<void>;
    query: import('./pg.js').NodePgClient['query'];
  }
  interface PgModule {
    readonly Pool: new (config: {readonly connectionString: string; readonly max?: number}) => Pool;
    readonly Client: new (config: {readonly connectionString: string}) => import('./pg.js').NodePgClient & {
      connect(): Promise<void>;
      end(): Promise<void>;
    };
  }
  const pg: PgModule;
  export default pg;
}
