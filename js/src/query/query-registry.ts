import type {DefaultContext, DefaultSchema} from '../default-types.js';
import type {Args} from '../json.js';
import {
  buildRegistry,
  type CallArgs,
  entryAt,
  hasTag,
  type MergedTrees,
  mergeRegistries,
  type registryTag,
  type Tagged,
  type Tree,
} from '../registry.js';
import type {Schema} from '../schema/schema.js';
import type {StandardSchemaV1} from '../standard-schema.js';
import type {Expand} from '../type-tools.js';
import {validateInput} from '../validate-input.js';
import {asQueryInternals, type CustomQueryID} from './internals.js';
import type {AnyQuery, PullRow, Query} from './query.js';
import {nameQuery} from './query-impl.js';


interface QueryTypes<TTable, TInput, TOutput, S, TReturn, TContext> {
  readonly table: TTable;
  readonly input: TInput;
  readonly output: TOutput;
  readonly schema: S;
  readonly returns: TReturn;
  readonly context: TContext;
}

/** What a query function is called with. */
export type QueryFnOptions<TArgs, TContext> = {readonly args: TArgs; readonly ctx: TContext};

/** What `fn` of a named query takes: `args` and `ctx` may be left out when they may be `undefined`. */
export type QueryCallOptions<TInput, TContext> = Expand<
  (undefined extends TInput ? {readonly args?: TInput} : {readonly args: TInput}) &
    (undefined extends TContext ? {readonly ctx?: TContext} : {readonly ctx: TContext})
>;

/** A query function with its validator, as `defineQuery` makes it. */
export interface QueryDefinition<
  TTable extends string,
  TInput extends Args,
  TOutput extends Args,
  TReturn,
  TContext = DefaultContext,
  S extends Schema = Schema,
> {
  readonly [registryTag]: Tagged<'QueryDefinition', QueryTypes<TTable, TInput, TOutput, S, TReturn, TContext>>;
  readonly fn: (options: QueryFnOptions<TOutput, TContext>) => Query<TTable, S, TReturn>;
  readonly validator: StandardSchemaV1<TInput, TOutput> | undefined;
}

/** Any definition of a query. */
export type AnyQueryDefinition = QueryDefinition<any, any, any, any, any, any>;

/**
 * A tree of definitions, as `defineQueries` takes it.
 *
 * The leaf is described by its tag alone: a type with `any` in it would be inferred into the definitions written inside the call.
 */
export type QueryDefinitions = Tree<{readonly [registryTag]: 'QueryDefinition'}>;

/** A named query: call it with arguments to ask for it. */
export interface CustomQuery<
  TTable extends keyof S['tables'] & string,
  TInput extends Args,
  TOutput extends Args = TInput,
  S extends Schema = DefaultSchema,
  TReturn = PullRow<TTable, S>,
  TContext = DefaultContext,
> {
  (...args: CallArgs<TInput>): QueryRequest<TTable, TInput, TOutput, S, TReturn, TContext>;
  readonly [registryTag]: Tagged<'Query', QueryTypes<TTable, TInput, TOutput, S, TReturn, TContext>>;
  /** The dotted path in the registry. */
  readonly queryName: string;
  /** Validates the arguments, runs the function, and attaches the name. */
  readonly fn: (options: QueryCallOptions<TInput, TContext>) => Query<TTable, S, TReturn>;
}

/** Any named query. */
export type AnyCustomQuery = CustomQuery<any, any, any, any, any, any>;

/** A named query with its arguments; cheap, the query function has not run. */
export interface QueryRequest<
  TTable extends keyof S['tables'] & string,
  TInput extends Args,
  TOutput extends Args,
  S extends Schema,
  TReturn,
  TContext,
> {
  readonly [registryTag]: Tagged<'QueryRequest', QueryTypes<TTable, TInput, TOutput, S, TReturn, TContext>>;
  readonly query: CustomQuery<TTable, TInput, TOutput, S, TReturn, TContext>;
  readonly args: TInput;
}

/** A query, or a named query with its arguments. */
export type QueryOrQueryRequest<
  TTable extends keyof S['tables'] & string,
  TInput extends Args,
  TOutput extends Args,
  S extends Schema,
  TReturn,
  TContext,
> = Query<TTable, S, TReturn> | QueryRequest<TTable, TInput, TOutput, S, TReturn, TContext>;

/** Any query, or any named query with its arguments. */
export type AnyQueryOrRequest = AnyQuery | QueryRequest<any, any, any, any, any, any>;

/** The named queries of a tree of definitions. */
export type ToQueryTree<T> = {
  readonly [K in Exclude<keyof T, typeof registryTag>]: T[K] extends {
    readonly [registryTag]: Tagged<
      'QueryDefinition',
      QueryTypes<
        infer TTable extends string,
        infer TInput extends Args,
        infer TOutput extends Args,
        infer S extends Schema,
        infer TReturn,
        infer TContext
      >
    >;
  }
    ? CustomQuery<TTable, TInput, TOutput, S, TReturn, TContext>
    : ToQueryTree<T[K]> & {readonly [registryTag]: 'QueryRegistry'};
};

/** One of the named queries of a tree of definitions, whatever its arguments. */
export type FromQueryTree<T, S extends Schema = DefaultSchema> = {
  readonly [K in Exclude<keyof T, typeof registryTag>]: T[K] extends {
    readonly [registryTag]: Tagged<'QueryDefinition', QueryTypes<infer TTable extends string, any, any, any, infer TReturn, infer TContext>>;
  }
    ? CustomQuery<TTable, Args, Args, S, TReturn, TContext>
    : FromQueryTree<T[K], S>;
}[Exclude<keyof T, typeof registryTag>];

/** The named queries of an application. */
export type QueryRegistry<T, _S extends Schema = DefaultSchema> = ToQueryTree<T> & {
  readonly [registryTag]: Tagged<'QueryRegistry', {readonly definitions: T}>;
};

/** Any registry of queries. */
export type AnyQueryRegistry = {readonly [registryTag]: 'QueryRegistry'};

/** The definitions of a registry, or the tree itself. */
type DefinitionsOf<T> = T extends {
  readonly [registryTag]: Tagged<'QueryRegistry', {readonly definitions: infer D}>;
}
  ? D
  : T;

/** `defineQuery` for one schema and context. */
export interface DefineQuery<S0 extends Schema, C0> {
  <
    TTable extends keyof S['tables'] & string,
    TInput extends Args,
    TOutput extends Args,
    TReturn,
    TContext = C0,
    S extends Schema = S0,
  >(
    validator: StandardSchemaV1<TInput, TOutput>,
    fn: (options: QueryFnOptions<TOutput, TContext>) => Query<TTable, S, TReturn>,
  ): QueryDefinition<TTable, TInput, TOutput, TReturn, TContext, S>;
  <
    TTable extends keyof S['tables'] & string,
    TReturn,
    TInput extends Args = Args,
    TContext = C0,
    S extends Schema = S0,
  >(
    fn: (options: QueryFnOptions<TInput, TContext>) => Query<TTable, S, TReturn>,
  ): QueryDefinition<TTable, TInput, TInput, TReturn, TContext, S>;
}

/** `defineQueries` makes a registry of definitions, or lays overrides over a base. */
export interface DefineQueries {
  <const T extends QueryDefinitions>(definitions: T): QueryRegistry<T>;
  <const TBase extends QueryDefinitions | AnyQueryRegistry, const TOverrides extends QueryDefinitions>(
    base: TBase,
    overrides: TOverrides,
  ): QueryRegistry<MergedTrees<DefinitionsOf<TBase>, TOverrides, {readonly [registryTag]: 'QueryDefinition'}>>;
}

/**
 * Defines a query by a function of its arguments and the context.
 *
 * ```ts
 * const byID = defineQuery(z.object({id: z.string()}), ({args, ctx}) =>
 *   zql.issue.where('id', args.id).where('ownerID', ctx.userID).one(),
 * );
 * ```
 */
export const defineQuery: DefineQuery<DefaultSchema, DefaultContext> = ((...args: unknown[]): AnyQueryDefinition => {
  const [validator, fn] = args.length === 1 ? [undefined, args[0]] : args;
  if (typeof fn !== 'function') {
    throw new TypeError('defineQuery needs a function that returns a query.');
  }
  return Object.freeze({'~': 'QueryDefinition', fn, validator}) as unknown as AnyQueryDefinition;
}) as never;

/**
 * Names queries by their place in a tree: `defineQueries({issue: {byID}})` names `issue.byID`.
 *
 * With two arguments, the second is laid over the first.
 */
export const defineQueries: DefineQueries = ((base: object, overrides?: Tree<AnyQueryDefinition>) => {
  const registryOf = (tree: object) =>
    buildRegistry('QueryRegistry', tree as Tree<AnyQueryDefinition>, isQueryDefinition, customQuery);
  const registry = isQueryRegistry(base) ? base : registryOf(base);
  return overrides === undefined ? registry : mergeRegistries(registry, registryOf(overrides));
}) as never;

/** `defineQuery` with its types bound, for programs with several schemas. */
export function defineQueryWithType<S extends Schema, C = unknown>(): DefineQuery<S, C> {
  return defineQuery as unknown as DefineQuery<S, C>;
}

/** `defineQueries` with its types bound, for programs with several schemas. */
export function defineQueriesWithType<_S extends Schema, _C = unknown>(): DefineQueries {
  return defineQueries;
}

function customQuery(name: string, source: AnyQueryDefinition): AnyCustomQuery {
  const {fn, validator} = source;
  const run = ({args, ctx}: {readonly args?: Args; readonly ctx?: unknown}) => {
    const query = fn({args: validateInput('query', name, args, validator), ctx});
    // The server validates again, so it gets what the caller gave.
    const id: CustomQueryID = {name, args: args === undefined ? [] : [args]};
    return nameQuery(query, id);
  };
  const call = (args?: Args) => Object.freeze({'~': 'QueryRequest', query: call, args});
  const members = {'~': 'Query', queryName: name, fn: run};
  return Object.assign(call, members) as unknown as AnyCustomQuery;
}

/** Whether a value is a named query. */
export function isQuery(value: unknown): value is AnyCustomQuery {
  return hasTag(value, 'Query');
}

/** Whether a value is a definition of a query. */
export function isQueryDefinition(value: unknown): value is AnyQueryDefinition {
  return hasTag(value, 'QueryDefinition');
}

/** Whether a value is a registry of queries. */
export function isQueryRegistry(value: unknown): value is AnyQueryRegistry {
  return hasTag(value, 'QueryRegistry');
}

/** The query of this name (`a.b` or `a|b`), if the registry has it. */
export function getQuery(registry: AnyQueryRegistry, name: string): AnyCustomQuery | undefined {
  const entry = entryAt(registry, name.split(/[.|]/));
  return isQuery(entry) ? entry : undefined;
}

/** The query of this name; throws if the registry lacks it. */
export function mustGetQuery(registry: AnyQueryRegistry, name: string): AnyCustomQuery {
  const query = getQuery(registry, name);
  if (query === undefined) {
    throw new Error(`Query not found: ${name}`);
  }
  return query;
}

/** The query that a request stands for; validates its arguments and runs its function. A query is returned as it is. */
export function toQuery(queryOrRequest: AnyQueryOrRequest, context: unknown): AnyQuery {
  if (hasTag(queryOrRequest, 'QueryRequest')) {
    const {query, args} = queryOrRequest as QueryRequest<any, any, any, any, any, any>;
    return query.fn({args, ctx: context});
  }
  if (isQuery(queryOrRequest)) {
    throw new TypeError(`The named query "${queryOrRequest.queryName}" has to be called to ask for it.`);
  }
  const query = queryOrRequest as AnyQuery;
  asQueryInternals(query);
  return query;
}
