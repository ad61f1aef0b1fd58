import type {DefaultSchema} from '../default-types.js';
import type {Condition, Parameter} from '../query/ast.js';
import {TRUE, toParameter} from '../query/condition.js';
import type {ExpressionBuilder} from '../query/expression-builder.js';
import {clientToServer, mapCondition} from '../query/map-ast.js';
import {expressionFor, type QueryEnvironment, queryEnvironment} from '../query/query-impl.js';
import type {Schema} from '../schema/schema.js';
import type {MaybePromise} from '../type-tools.js';

/** A rule: a condition on the row, with what is known of the user as parameters. */
export type PermissionRule<TAuth, S extends Schema, TTable extends keyof S['tables'] & string> = (
  authData: TAuth,
  eb: ExpressionBuilder<TTable, S>,
) => Condition;

/** Rules for what may be done; of several rules for one action, one has to hold. */
export interface AssetPermissions<TAuth, S extends Schema, TTable extends keyof S['tables'] & string> {
  readonly select?: readonly PermissionRule<TAuth, S, TTable>[] | undefined;
  readonly insert?: readonly PermissionRule<TAuth, S, TTable>[] | undefined;
  readonly update?:
    | {
        /** Judged on the row as it was. */
        readonly preMutation?: readonly PermissionRule<TAuth, S, TTable>[] | undefined;
        /** Judged on the row as it becomes. */
        readonly postMutation?: readonly PermissionRule<TAuth, S, TTable>[] | undefined;
      }
    | undefined;
  readonly delete?: readonly PermissionRule<TAuth, S, TTable>[] | undefined;
}

/** Rules for each table: for its rows, and for single columns. */
export type PermissionsConfig<TAuth, S extends Schema = DefaultSchema> = {
  readonly [K in keyof S['tables'] & string]?:
    | {
        readonly row?: AssetPermissions<TAuth, S, K> | undefined;
        readonly cell?:
          | {readonly [C in keyof S['tables'][K]['columns'] & string]?: AssetPermissions<TAuth, S, K> | undefined}
          | undefined;
      }
    | undefined;
};

/** A compiled rule. */
export type CompiledPermissionsRule = readonly ['allow', Condition];

/** The compiled rules for one action. */
export type CompiledPermissionsPolicy = readonly CompiledPermissionsRule[];

/** The compiled rules for a table or column. */
export interface CompiledAssetPermissions {
  readonly select?: CompiledPermissionsPolicy | undefined;
  readonly insert?: CompiledPermissionsPolicy | undefined;
  readonly update?:
    | {
        readonly preMutation?: CompiledPermissionsPolicy | undefined;
        readonly postMutation?: CompiledPermissionsPolicy | undefined;
      }
    | undefined;
  readonly delete?: CompiledPermissionsPolicy | undefined;
}

/** Compiled permissions: plain JSON in server names, as the server reads them. */
export interface CompiledPermissionsConfig {
  readonly tables: {
    readonly [table: string]: {
      readonly row?: CompiledAssetPermissions | undefined;
      readonly cell?: {readonly [column: string]: CompiledAssetPermissions} | undefined;
    };
  };
}

/** One rule that everybody passes. */
export const ANYONE_CAN: readonly [(_: unknown, eb: unknown) => Condition] = [() => TRUE];

/** No rule, so nobody passes. */
export const NOBODY_CAN: readonly [] = [];

/** @deprecated Name what anyone can do, with `ANYONE_CAN`. */
export const ANYONE_CAN_DO_ANYTHING = {
  row: {
    select: ANYONE_CAN,
    insert: ANYONE_CAN,
    update: {preMutation: ANYONE_CAN, postMutation: ANYONE_CAN},
    delete: ANYONE_CAN,
  },
} as const;

/**
 * Declares who may read and write what; a table or action without a rule is closed.
 *
 * ```ts
 * const permissions = definePermissions<{sub: string}, typeof schema>(schema, () => ({
 *   issue: {
 *     row: {
 *       select: ANYONE_CAN,
 *       insert: [(auth, {cmp}) => cmp('ownerID', auth.sub)],
 *     },
 *   },
 * }));
 * ```
 */
export async function definePermissions<TAuth, S extends Schema>(
  schema: S,
  define: () => MaybePromise<PermissionsConfig<TAuth, S> | undefined>,
): Promise<CompiledPermissionsConfig | undefined> {
  const config = await define();
  return config === undefined ? undefined : compilePermissions(schema, config as PermissionsConfig<unknown, Schema>);
}

type AnyRule = PermissionRule<unknown, Schema, string>;
type AnyAsset = AssetPermissions<unknown, Schema, string>;

/** Turns rules into conditions in server names. */
export function compilePermissions(
  schema: Schema,
  config: PermissionsConfig<unknown, Schema>,
  environment: QueryEnvironment = queryEnvironment(schema, {system: 'permissions'}),
): CompiledPermissionsConfig {
  const mapper = clientToServer(schema);
  const tables: {[table: string]: CompiledPermissionsConfig['tables'][string]} = {};
  for (const [table, permissions] of Object.entries(config)) {
    const serverTable = mapper.tableName(table);
    const {row, cell} = permissions ?? {};
    const asset = (rules: AnyAsset) => compileAsset(rules, rule => compileRule(environment, table, rule));
    const cells = Object.entries(cell ?? {}).flatMap(([column, rules]) =>
      rules === undefined ? [] : [[mapper.columnName(table, column), asset(rules)] as const],
    );
    tables[serverTable] = {
      ...(row && {row: asset(row)}),
      ...(cell && {cell: Object.fromEntries(cells)}),
    };
  }
  return {tables};
}

function compileRule(environment: QueryEnvironment, table: string, rule: AnyRule): Condition {
  const condition = expressionFor(environment, table, eb => {
    const returned: unknown = rule(authParameter([]), eb);
    if (typeof returned !== 'object' || returned === null) {
      throw new TypeError(`A rule of table "${table}" returned ${String(returned)} instead of a condition.`);
    }
    return returned as Condition;
  });
  return mapCondition(condition, table, clientToServer(environment.schema));
}

function compileAsset(
  {select, insert, update, delete: remove}: AnyAsset,
  compile: (rule: AnyRule) => Condition,
): CompiledAssetPermissions {
  const policy = (rules: readonly AnyRule[] | undefined): CompiledPermissionsPolicy | undefined =>
    rules?.map(rule => ['allow', compile(rule)] as const);
  const preMutation = policy(update?.preMutation);
  const postMutation = policy(update?.postMutation);
  return withoutUndefined({
    select: policy(select),
    insert: policy(insert),
    update: update && withoutUndefined({preMutation, postMutation}),
    delete: policy(remove),
  });
}

function withoutUndefined<T extends object>(value: T): T {
  return Object.fromEntries(Object.entries(value).filter(([, member]) => member !== undefined)) as T;
}

/** Stands for the user's data: reading a member gives the parameter for that member. */
function authParameter(path: readonly string[]): unknown {
  return new Proxy(Object.create(null) as object, {
    has: (_, member) => member === toParameter,
    get(_, member) {
      if (member === toParameter) {
        return () => parameter(path);
      }
      return typeof member === 'symbol' ? undefined : authParameter([...path, member]);
    },
  });
}

function parameter(path: readonly string[]): Parameter {
  const [first, ...rest] = path;
  if (first === undefined) {
    throw new Error('no JWT field specified');
  }
  return {type: 'static', anchor: 'authData', field: rest.length === 0 ? first : path};
}
