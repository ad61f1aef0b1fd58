// The package `postgres` is optional; only what the adapter needs of it is described.
declare module 'postgres' {
  const postgres: (url: string) => import('./postgresjs.js').PostgresJSSql<
    import('./postgresjs.js').PostgresJSTransactionSql
  >;
  export default postgres;
}
