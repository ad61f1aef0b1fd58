/** Named queries as they were defined before registries: each with its name, and with any number of arguments. */
import type {ReadonlyJSONValue} from '../json.js';
import type {AnyQuery} from './query.js';
import {nameQuery} from './query-impl.js';

type Args = readonly ReadonlyJSONValue[];

/** @deprecated Makes a query of its arguments, and of the context if it takes one. */
export type QueryFn<TContext, TTakesContext extends boolean, TArgs extends ReadonlyJSONValue[], TQuery extends AnyQuery> =
  TTakesContext extends false ? (...args: TArgs) => TQuery : (context: TContext, ...args: TArgs) => TQuery;

/** @deprecated Checks arguments as they came over the wire. */
export type ParseFn<TArgs extends ReadonlyJSONValue[]> = (args: unknown[]) => TArgs;

/** @deprecated What checks arguments by a method, as validators of several libraries do. */
export type HasParseFn<TArgs extends ReadonlyJSONValue[]> = {parse: ParseFn<TArgs>};

/** @deprecated What checks arguments. */
export type Parser<TArgs extends ReadonlyJSONValue[]> = ParseFn<TArgs> | HasParseFn<TArgs>;

/** @deprecated A named query: call it with its arguments. */
export type SyncedQuery<
  TName extends string,
  TContext,
  TTakesContext extends boolean,
  TArgs extends ReadonlyJSONValue[],
  TQuery extends AnyQuery,
> = QueryFn<TContext, TTakesContext, TArgs, TQuery> & {
  queryName: TName;
  parse: ParseFn<TArgs> | undefined;
  takesContext: TTakesContext;
};

type AnySyncedQuery = SyncedQuery<any, any, any, any, any>;

/** The arguments that a page sent did not pass the parser of their query. */
export class QueryParseError extends Error {
  override readonly name = 'QueryParseError';

  constructor(cause: unknown) {
    super(`The arguments of the query could not be parsed: ${cause instanceof Error ? cause.message : String(cause)}`, {cause});
  }
}

/** @deprecated Use `defineQuery` and `defineQueries`. */
export function syncedQuery<TName extends string, TArgs extends ReadonlyJSONValue[], TQuery extends AnyQuery>(
  name: TName,
  parser: Parser<TArgs> | undefined,
  fn: QueryFn<unknown, false, TArgs, TQuery>,
): SyncedQuery<TName, unknown, false, TArgs, TQuery> {
  const query = (...args: TArgs) => named(name, args, fn(...args));
  return withMembers(query, name, parser, false) as never;
}

/** @deprecated Use `defineQuery` and `defineQueries`. */
export function syncedQueryWithContext<TName extends string, TContext, TArgs extends ReadonlyJSONValue[], TQuery extends AnyQuery>(
  name: TName,
  parser: Parser<TArgs> | undefined,
  fn: QueryFn<TContext, true, TArgs, TQuery>,
): SyncedQuery<TName, TContext, true, TArgs, TQuery> {
  const query = (context: TContext, ...args: TArgs) => named(name, args, fn(context, ...args));
  return withMembers(query, name, parser, true) as never;
}

/**
 * @deprecated Use `defineQuery`, which validates by itself. The query for a server's endpoint: it takes the context
 * first, and parses its arguments.
 */
export function withValidation<F extends AnySyncedQuery>(
  query: F,
): F extends SyncedQuery<infer N, infer C, any, any, infer Q> ? SyncedQuery<N, C, true, ReadonlyJSONValue[], Q> : F {
  const {parse, queryName, takesContext} = query;
  if (parse === undefined) {
    throw new Error(`The query ${queryName} was defined without a parser.`);
  }
  const call = query as unknown as (...args: unknown[]) => AnyQuery;
  const validated = (context: unknown, ...args: unknown[]) => {
    const parsed = parsedArgs(parse, args);
    return takesContext ? call(context, ...parsed) : call(...parsed);
  };
  return withMembers(validated, queryName, parse, true) as never;
}

function parsedArgs(parse: ParseFn<ReadonlyJSONValue[]>, args: unknown[]): ReadonlyJSONValue[] {
  try {
    return parse(args);
  } catch (error) {
    throw new QueryParseError(error);
  }
}

function named(name: string, args: Args, query: AnyQuery): AnyQuery {
  return nameQuery(query, {name, args});
}

function withMembers(fn: Function, queryName: string, parser: Parser<any> | undefined, takesContext: boolean): unknown {
  const parse = parser === undefined || typeof parser === 'function' ? parser : parser.parse.bind(parser);
  return Object.assign(fn, {queryName, parse, takesContext});
}
