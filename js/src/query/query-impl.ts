import type {ReadonlyJSONObject} from '../json.js';
import type {Connection, Relationship} from '../schema/relationships.js';
import type {Schema} from '../schema/schema.js';
import type {TableSchema} from '../schema/table-schema.js';
import type {AST, Condition, Correlation, CorrelatedSubquery, Direction, System} from './ast.js';
import {and, compareColumn, compareValues, isOperator, not, or, scalar, simplify} from './condition.js';
import type {ExpressionBuilder} from './expression-builder.js';
import {
  asQueryInternals,
  type CustomQueryID,
  type Format,
  type QueryInternals,
  queryInternals,
  queryInternalsTag,
} from './internals.js';
import type {AnyQuery, ExistsOptions, Query} from './query.js';
import type {PreloadOptions, RunOptions} from './run-options.js';
import type {TTL} from './ttl.js';
import type {AnyViewFactory} from './view-factory.js';
import type {TypedView} from './view-store.js';

const subqueryPrefix = 'zsubq_';

/** Runs queries that have a `run` method of their own (the deprecated `zero.query` and `tx.query`). */
export interface QueryRunner {
  run(query: AnyQuery, options?: RunOptions): Promise<unknown>;
  preload?(query: AnyQuery, options?: PreloadOptions): {cleanup: () => void; complete: Promise<void>};
  materialize?(query: AnyQuery, ttl: TTL | undefined): TypedView<unknown>;
  materializeWith?(query: AnyQuery, factory: AnyViewFactory, ttl: TTL | undefined): unknown;
}

/** What all queries made from one builder have in common. */
export interface QueryEnvironment {
  readonly schema: Schema;
  readonly system: System;
  readonly runner?: QueryRunner | undefined;
}

/** A query of a whole table. */
export function newQuery(environment: QueryEnvironment, table: string): AnyQuery {
  return new QueryImpl(environment, {table}, plural) as unknown as AnyQuery;
}

/** A copy of a query that the server knows by a name. */
export function nameQuery(query: AnyQuery, customQueryID: CustomQueryID): AnyQuery {
  if (!(query instanceof QueryImpl)) {
    // A query of another copy of this module: its methods are not needed any more, its internals are.
    const {ast, format} = asQueryInternals(query);
    return Object.create(query, {
      [queryInternalsTag]: {value: queryInternals(ast, format, customQueryID)},
    }) as AnyQuery;
  }
  return query.named(customQueryID) as unknown as AnyQuery;
}

const plural: Format = {singular: false, relationships: {}};

type AnyExpressionBuilder = ExpressionBuilder<string, Schema>;
type SubqueryCallback = (query: AnyQuery) => AnyQuery;

class QueryImpl {
  #internals: QueryInternals | undefined;
  readonly #customQueryID: CustomQueryID | undefined;
  readonly #environment: QueryEnvironment;
  readonly #ast: AST;
  readonly #format: Format;

  constructor(
    environment: QueryEnvironment,
    ast: AST,
    format: Format,
    customQueryID?: CustomQueryID,
  ) {
    this.#environment = environment;
    this.#ast = ast;
    this.#format = format;
    this.#customQueryID = customQueryID;
  }

  // Most queries are a step on the way to another.
  get [queryInternalsTag](): QueryInternals {
    return (this.#internals ??= queryInternals(this.#ast, this.#format, this.#customQueryID));
  }

  named(customQueryID: CustomQueryID): QueryImpl {
    return new QueryImpl(this.#environment, this.#ast, this.#format, customQueryID);
  }

  where(...args: unknown[]): QueryImpl {
    const [first] = args;
    const added =
      typeof first === 'function'
        ? (first as (eb: AnyExpressionBuilder) => Condition)(this.#expressionBuilder())
        : this.#compare(args);
    const where = simplify(this.#ast.where === undefined ? added : and(this.#ast.where, added));
    return this.#with({where});
  }

  whereExists(relationship: string, ...rest: unknown[]): QueryImpl {
    return this.where(({exists}: {exists: (...args: unknown[]) => Condition}) => exists(relationship, ...rest));
  }

  related(relationship: string, subquery: SubqueryCallback = q => q): QueryImpl {
    if (relationship.startsWith(subqueryPrefix)) {
      throw new Error(
        `Relationship names may not start with "${subqueryPrefix}". That is a reserved prefix.`,
      );
    }
    const [first, second] = this.#relationship(relationship);
    const last = second ?? first;
    const start = new QueryImpl(
      this.#environment,
      {table: last.destSchema, alias: relationship},
      {singular: last.cardinality === 'one', relationships: {}},
    );
    const {ast, format} = asQueryInternals(subquery(start as unknown as AnyQuery));
    const destination = this.#correlated(last, {...ast, alias: relationship});
    const entry =
      second === undefined
        ? destination
        : {
            ...this.#correlated(first, {table: first.destSchema, alias: relationship, related: [destination]}),
            hidden: true,
          };
    return this.#with(
      {related: [...(this.#ast.related ?? []), entry]},
      {...this.#format, relationships: {...this.#format.relationships, [relationship]: format}},
    );
  }

  orderBy(column: string, direction: Direction): QueryImpl {
    this.#checkColumn(column, 'orderBy');
    if (direction !== 'asc' && direction !== 'desc') {
      throw new Error(`orderBy needs a direction, "asc" or "desc", not ${JSON.stringify(direction)}.`);
    }
    return this.#with({orderBy: [...(this.#ast.orderBy ?? []), [column, direction]]});
  }

  limit(count: number): QueryImpl {
    if (count < 0) {
      throw new Error('Limit must be non-negative');
    }
    if ((count | 0) !== count) {
      throw new Error('Limit must be an integer');
    }
    return this.#with({limit: count});
  }

  one(): QueryImpl {
    return this.#with({limit: 1}, {...this.#format, singular: true});
  }

  start(row: ReadonlyJSONObject, options?: {readonly inclusive: boolean}): QueryImpl {
    for (const [column, value] of Object.entries(row)) {
      this.#checkColumn(column, 'start');
      // A whole row may hold JSON, by which nothing is ordered.
      if (value !== undefined && typeof value !== 'object') {
        scalar(value);
      }
    }
    return this.#with({start: {row: {...row}, exclusive: !options?.inclusive}});
  }

  run(options?: RunOptions): Promise<unknown> {
    return this.#runner('run')(this as unknown as AnyQuery, options);
  }

  preload(options?: PreloadOptions): {cleanup: () => void; complete: Promise<void>} {
    return this.#runner('preload')(this as unknown as AnyQuery, options);
  }

  materialize(first?: TTL | AnyViewFactory, second?: TTL): unknown {
    const query = this as unknown as AnyQuery;
    return typeof first === 'function'
      ? this.#runner('materializeWith')(query, first, second)
      : this.#runner('materialize')(query, first);
  }

  #runner<K extends keyof QueryRunner>(method: K): NonNullable<QueryRunner[K]> {
    const {runner} = this.#environment;
    const run = runner?.[method];
    if (run === undefined) {
      throw new Error('Query is not runnable');
    }
    return run.bind(runner) as NonNullable<QueryRunner[K]>;
  }

  #with(changes: Partial<AST>, format = this.#format): QueryImpl {
    return new QueryImpl(this.#environment, {...this.#ast, ...changes}, format);
  }

  #table(): TableSchema {
    const {tables} = this.#environment.schema;
    return tables[this.#ast.table] as TableSchema;
  }

  #checkColumn(column: unknown, method: string): asserts column is string {
    if (typeof column !== 'string' || !Object.hasOwn(this.#table().columns, column)) {
      throw new Error(`Unknown column "${String(column)}" of table "${this.#ast.table}" in ${method}`);
    }
  }

  #relationship(name: string): Relationship {
    const all = this.#environment.schema.relationships;
    const declared = Object.hasOwn(all, this.#ast.table) ? all[this.#ast.table] : undefined;
    const found = declared !== undefined && Object.hasOwn(declared, name) ? declared[name] : undefined;
    if (found === undefined) {
      throw new Error(`Invalid relationship "${name}" of table "${this.#ast.table}"`);
    }
    return found;
  }

  #correlated({sourceField, destField}: Connection, subquery: AST): CorrelatedSubquery {
    const correlation = {parentField: sourceField, childField: destField} as unknown as Correlation;
    return {system: this.#environment.system, correlation, subquery};
  }

  #compare(args: readonly unknown[]): Condition {
    if (args.length < 2) {
      throw new Error('Invalid condition. Too few arguments.');
    }
    const [column, ...rest] = args;
    this.#checkColumn(column, 'where');
    const [op, value] = rest.length === 1 ? ['=', rest[0]] : rest;
    if (!isOperator(op)) {
      throw new Error(`Unknown operator ${JSON.stringify(op)} for column "${column}" of table "${this.#ast.table}"`);
    }
    return compareColumn(column, op, value);
  }

  #expressionBuilder(): AnyExpressionBuilder {
    const eb = {
      cmp: (...args: unknown[]) => this.#compare(args),
      cmpLit: compareValues,
      and,
      or,
      not,
      exists: (relationship: string, ...rest: unknown[]) => this.#exists(relationship, rest),
    };
    return Object.assign(eb, {eb}) as unknown as AnyExpressionBuilder;
  }

  #exists(relationship: string, rest: readonly unknown[]): Condition {
    const [subquery, options] = existsArguments(rest);
    const place = `exists("${relationship}") of table "${this.#ast.table}"`;
    const [first, second] = this.#relationship(relationship);
    const alias = subqueryPrefix + relationship;
    const last = second ?? first;
    const start = new QueryImpl(this.#environment, {table: last.destSchema, alias: relationship}, plural);
    const {ast} = asQueryInternals(subquery(start as unknown as AnyQuery));
    refuseInExists(ast, options, place);
    if (second === undefined) {
      return existsCondition(this.#correlated(first, {...ast, alias}), options);
    }
    const {flip} = options;
    const inner = existsCondition(
      this.#correlated(second, {...ast, alias: `${subqueryPrefix}zhidden_${relationship}`}),
      options,
    );
    return existsCondition(this.#correlated(first, {table: first.destSchema, alias, where: inner}), {flip});
  }
}

function existsArguments([first, second]: readonly unknown[]): [SubqueryCallback, ExistsOptions] {
  const all: SubqueryCallback = q => q;
  return typeof first === 'function'
    ? [first as SubqueryCallback, (second ?? {}) as ExistsOptions]
    : [all, (first ?? second ?? {}) as ExistsOptions];
}

function existsCondition(related: CorrelatedSubquery, {flip, scalar}: ExistsOptions): Condition {
  return {
    type: 'correlatedSubquery',
    related,
    op: 'EXISTS',
    ...(flip === undefined ? {} : {flip}),
    ...(scalar === undefined ? {} : {scalar}),
  };
}

/** Such sub-queries have no meaning for "is there a row?" that all engines agree on. */
function refuseInExists(ast: AST, {flip}: ExistsOptions, place: string): void {
  if (flip === true) {
    return;
  }
  for (const part of ['start', 'related'] as const) {
    if (ast[part] !== undefined) {
      throw new Error(`EXISTS subqueries must not have ${part} (${place})`);
    }
  }
}

/** The environment of ordinary queries. */
export function queryEnvironment(schema: Schema, changes: Partial<QueryEnvironment> = {}): QueryEnvironment {
  return {schema, system: 'client', ...changes};
}

/** Makes an expression builder that belongs to no query: for permission rules. */
export function expressionFor(
  environment: QueryEnvironment,
  table: string,
  expression: (eb: AnyExpressionBuilder) => Condition,
): Condition {
  const query = newQuery(environment, table) as Query<string, Schema>;
  const {where} = asQueryInternals(query.where(expression as never)).ast;
  if (where === undefined) {
    throw new Error('A query with a condition has a where');
  }
  return where;
}
