import type {Schema} from '../schema/schema.js';
import type {SchemaQuery} from './query.js';
import {newQuery, type QueryEnvironment, queryEnvironment} from './query-impl.js';

/**
 * One query for each table of a schema.
 *
 * ```ts
 * const zql = createBuilder(schema);
 * const open = zql.issue.where('open', true).orderBy('created', 'desc').limit(50);
 * ```
 */
export function createBuilder<S extends Schema>(schema: S): SchemaQuery<S> {
  return builderFor(schema, queryEnvironment(schema));
}

/** A builder whose queries live in a given environment. */
export function builderFor<S extends Schema>(schema: S, environment: QueryEnvironment): SchemaQuery<S> {
  // No prototype: a name that is no table is undefined, whatever Object.prototype has.
  const queries = Object.create(null) as {[table: string]: unknown};
  for (const table of Object.keys(schema.tables)) {
    queries[table] = newQuery(environment, table);
  }
  return Object.freeze(queries) as SchemaQuery<S>;
}
