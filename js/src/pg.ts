/** @deprecated Use `landfall/server` and `landfall/server/adapters/postgresjs`. */
export * from './server/adapters/postgresjs.js';
export * from './server/index.js';
