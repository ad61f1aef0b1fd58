import type {DefaultSchema} from '../default-types.js';
import type {SchemaValueToTSType} from '../schema/schema-value.js';
import type {Schema} from '../schema/schema.js';
import type {TableSchema} from '../schema/table-schema.js';
import type {Expand} from '../type-tools.js';
import type {Direction, Parameter, SimpleOperator} from './ast.js';
import type {ExpressionFactory} from './expression-builder.js';
import type {PreloadOptions, RunOptions} from './run-options.js';
import type {TTL} from './ttl.js';
import type {ViewFactory} from './view-factory.js';
import type {TypedView} from './view-store.js';

/** The tables of a schema. */
export type TableName<S extends Schema> = keyof S['tables'] & string;

/** A row of a table: its columns only. */
export type PullRow<TTable extends string, S extends Schema = DefaultSchema> = {
  readonly [K in keyof ColumnsOf<TTable, S>]: SchemaValueToTSType<ColumnsOf<TTable, S>[K]>;
};

type ColumnsOf<TTable extends string, S extends Schema> = S['tables'][TTable]['columns'];

/** The columns of a table. */
export type ColumnName<TTable extends string, S extends Schema> = keyof ColumnsOf<TTable, S> & string;

/** The columns that a comparison may name: not JSON, not arrays. */
export type ComparableColumn<TTable extends string, S extends Schema> = {
  [K in ColumnName<TTable, S>]: ColumnsOf<TTable, S>[K] extends {readonly type: 'json'}
    ? never
    : NonNullable<SchemaValueToTSType<ColumnsOf<TTable, S>[K]>> extends readonly unknown[]
      ? never
      : K;
}[ColumnName<TTable, S>];

/** What a column may be compared with under an operator. */
export type FilterValue<
  TTable extends string,
  S extends Schema,
  TColumn extends ColumnName<TTable, S>,
  TOperator extends SimpleOperator,
> = TOperator extends 'IS' | 'IS NOT'
  ? ColumnValue<TTable, S, TColumn> | null | undefined
  : TOperator extends 'IN' | 'NOT IN'
    ? readonly NonNullable<ColumnValue<TTable, S, TColumn>>[] | undefined
    : NonNullable<ColumnValue<TTable, S, TColumn>> | undefined;

type ColumnValue<TTable extends string, S extends Schema, TColumn extends ColumnName<TTable, S>> = SchemaValueToTSType<
  ColumnsOf<TTable, S>[TColumn]
>;

type RelationshipsOf<TTable extends string, S extends Schema> = TTable extends keyof S['relationships']
  ? S['relationships'][TTable]
  : Record<never, never>;

/** The relationships of a table. */
export type RelationshipName<TTable extends string, S extends Schema> = keyof RelationshipsOf<TTable, S> & string;

type HopsOf<TTable extends string, S extends Schema, TRelationship extends string> = RelationshipsOf<
  TTable,
  S
>[TRelationship & keyof RelationshipsOf<TTable, S>];

/** The table that a relationship leads to. */
export type DestinationTable<TTable extends string, S extends Schema, TRelationship extends string> = (HopsOf<
  TTable,
  S,
  TRelationship
> extends readonly [unknown, infer TLast]
  ? TLast
  : HopsOf<TTable, S, TRelationship> extends readonly [infer TOnly]
    ? TOnly
    : never) extends {readonly destSchema: infer TDest extends string}
  ? TDest & TableName<S>
  : TableName<S>;

/** The row that a relationship leads to; it may be missing when the relationship leads to one. */
export type DestinationRow<TTable extends string, S extends Schema, TRelationship extends string> = HopsOf<
  TTable,
  S,
  TRelationship
> extends readonly [...unknown[], {readonly cardinality: 'one'}]
  ? PullRow<DestinationTable<TTable, S, TRelationship>, S> | undefined
  : PullRow<DestinationTable<TTable, S, TRelationship>, S>;

/** A row with one more relationship. */
export type WithRelationship<TReturn, TRelationship extends string, TSub> = TReturn extends undefined
  ? undefined
  : TReturn & {
      readonly [K in TRelationship]: undefined extends TSub ? TSub : readonly TSub[];
    };

/** How `whereExists` and `exists` run; hints that never change the answer. */
export interface ExistsOptions {
  /** Start from the related rows (`true`) or from the rows of the query (`false`). */
  readonly flip?: boolean | undefined;
  /** The related row is one that a unique key names: look it up once. */
  readonly scalar?: boolean | undefined;
}

/**
 * A query: immutable, every method returns a new one.
 *
 * `TReturn` is the type of one result; it includes `undefined` when the query asks for at most one row.
 */
export interface Query<
  TTable extends keyof S['tables'] & string,
  S extends Schema = DefaultSchema,
  TReturn = PullRow<TTable, S>,
  // Zero's types count here which columns are compared with one value; nothing here depends on it.
  _TPinned extends string = never,
> {
  /** Keeps the rows whose column compares so with the value; several `where` are joined by "and". */
  where<TColumn extends ComparableColumn<TTable, S>, TOperator extends SimpleOperator>(
    column: TColumn,
    operator: TOperator,
    value: FilterValue<TTable, S, TColumn, TOperator> | Parameter,
  ): Query<TTable, S, TReturn>;
  /** Keeps the rows whose column equals the value. */
  where<TColumn extends ComparableColumn<TTable, S>>(
    column: TColumn,
    value: FilterValue<TTable, S, TColumn, '='> | Parameter,
  ): Query<TTable, S, TReturn>;
  /** Keeps the rows that satisfy the expression. */
  where(expression: ExpressionFactory<TTable, S>): Query<TTable, S, TReturn>;

  /** Keeps the rows that have a related row. */
  whereExists<TRelationship extends RelationshipName<TTable, S>>(
    relationship: TRelationship,
    options?: ExistsOptions,
  ): Query<TTable, S, TReturn>;
  /** Keeps the rows that have a related row in the sub-query. */
  whereExists<TRelationship extends RelationshipName<TTable, S>>(
    relationship: TRelationship,
    subquery: (
      query: Query<DestinationTable<TTable, S, TRelationship>, S, DestinationRow<TTable, S, TRelationship>>,
    ) => AnyQuery,
    options?: ExistsOptions,
  ): Query<TTable, S, TReturn>;

  /** Adds the related rows to each row, as a property with the relationship's name. */
  related<TRelationship extends RelationshipName<TTable, S>>(
    relationship: TRelationship,
  ): Query<TTable, S, WithRelationship<TReturn, TRelationship, DestinationRow<TTable, S, TRelationship>>>;
  /** Adds the related rows that the sub-query keeps. */
  related<TRelationship extends RelationshipName<TTable, S>, TSubTable extends keyof S['tables'] & string, TSub>(
    relationship: TRelationship,
    subquery: (
      query: Query<DestinationTable<TTable, S, TRelationship>, S, DestinationRow<TTable, S, TRelationship>>,
    ) => Query<TSubTable, S, TSub>,
  ): Query<TTable, S, WithRelationship<TReturn, TRelationship, TSub>>;

  /** Sorts by a column; called again, sorts rows that are equal so far. Ties are broken by the primary key. */
  orderBy<TColumn extends ColumnName<TTable, S>>(column: TColumn, direction: Direction): Query<TTable, S, TReturn>;
  /** Keeps the first `count` rows; of a relationship, the first `count` of each row. */
  limit(count: number): Query<TTable, S, TReturn>;
  /** Keeps the first row, and makes the result that row or `undefined`. */
  one(): Query<TTable, S, TReturn | undefined>;
  /** Starts after the given row in the query's order, or at it when `inclusive`. */
  start(row: Partial<PullRow<TTable, S>>, options?: {readonly inclusive: boolean}): Query<TTable, S, TReturn>;

  /** @deprecated Use `zero.run(query)` or `tx.run(query)`. */
  run(options?: RunOptions): Promise<HumanReadable<TReturn>>;
  /** @deprecated Use `zero.preload(query)`. */
  preload(options?: PreloadOptions): {readonly cleanup: () => void; readonly complete: Promise<void>};
  /** @deprecated Use `zero.materialize(query)`. */
  materialize(ttl?: TTL): TypedView<HumanReadable<TReturn>>;
  /** @deprecated Use `zero.materialize(query, factory)`. */
  materialize<T>(factory: ViewFactory<TTable, S, TReturn, T>, ttl?: TTL): T;
}

/** Any query, of any schema. */
// The parameters occur in argument positions, so only `any` accepts every query.
export type AnyQuery = Query<any, any, any>;

/** One query for each table of a schema. */
export type SchemaQuery<S extends Schema> = {
  readonly [K in TableName<S>]: Query<K, S>;
};

/** `SchemaQuery` if the schema enables legacy queries, else `undefined`. */
export type ConditionalSchemaQuery<S extends Schema> = S extends {readonly enableLegacyQueries: true}
  ? SchemaQuery<S>
  : undefined;

/** What running a query gives: a list, or for a query of at most one row, the row or `undefined`. */
export type HumanReadable<T> = undefined extends T ? Expand<T> : Expand<T>[];

/** The type of one result of a query, a named query, or a function that returns one. */
export type QueryRowType<Q> = NonNullable<ReturnOf<Q>>;

/** Another name of `QueryRowType`. */
export type ZeRow<Q> = QueryRowType<Q>;

/** What running a query, a named query, or the query that a function returns, gives. */
export type QueryResultType<Q> = HumanReadable<ReturnOf<Q>>;

type ReturnOf<Q> = Q extends Query<any, any, infer TReturn>
  ? TReturn
  : Q extends {readonly '~': string & {readonly types: {readonly returns: infer TReturn}}}
    ? TReturn
    : Q extends (...args: any) => infer TResult
      ? ReturnOf<TResult>
      : never;

/**
 * The row type of a table, of a query, or of each table of a schema.
 *
 * ```ts
 * type Issue = Row['issue'];           // with a registered schema
 * type Issue2 = Row<typeof schema.tables.issue>;
 * type WithOwner = Row<typeof issuesWithOwner>;
 * ```
 */
export type Row<T = DefaultSchema> = T extends Schema
  ? {readonly [K in TableName<T>]: PullRow<K, T>}
  : T extends TableSchema
    ? {readonly [K in keyof T['columns']]: SchemaValueToTSType<T['columns'][K]>}
    : T extends {readonly schema: infer TTable extends TableSchema}
      ? {readonly [K in keyof TTable['columns']]: SchemaValueToTSType<TTable['columns'][K]>}
      : QueryRowType<T>;
