import type {DefaultSchema} from '../default-types.js';
import type {Schema} from '../schema/schema.js';
import type {Condition, LiteralValue, Parameter, SimpleOperator} from './ast.js';
import type {
  AnyQuery,
  ComparableColumn,
  DestinationRow,
  DestinationTable,
  ExistsOptions,
  FilterValue,
  Query,
  RelationshipName,
} from './query.js';

/** Makes a condition. */
export interface ExpressionFactory<TTable extends keyof S['tables'] & string, S extends Schema = DefaultSchema> {
  (expression: ExpressionBuilder<TTable, S>): Condition;
}

/**
 * The parts of an expression; its members may be taken out of it.
 *
 * ```ts
 * query.where(({or, cmp}) => or(cmp('open', true), cmp('priority', '>', 3)))
 * ```
 */
export interface ExpressionBuilder<TTable extends keyof S['tables'] & string, S extends Schema = DefaultSchema> {
  /** The builder itself. */
  readonly eb: ExpressionBuilder<TTable, S>;

  /** Compares a column with a value. */
  readonly cmp: {
    <TColumn extends ComparableColumn<TTable, S>, TOperator extends SimpleOperator>(
      column: TColumn,
      operator: TOperator,
      value: FilterValue<TTable, S, TColumn, TOperator> | Parameter,
    ): Condition;
    <TColumn extends ComparableColumn<TTable, S>>(
      column: TColumn,
      value: FilterValue<TTable, S, TColumn, '='> | Parameter,
    ): Condition;
  };

  /** Compares two values. */
  readonly cmpLit: (
    left: LiteralValue | Parameter | undefined,
    operator: SimpleOperator,
    right: LiteralValue | Parameter | undefined,
  ) => Condition;

  /** True when all conditions are; `undefined` is left out, and no condition at all is true. */
  readonly and: (...conditions: (Condition | undefined)[]) => Condition;
  /** True when one condition is; `undefined` is left out, and no condition at all is false. */
  readonly or: (...conditions: (Condition | undefined)[]) => Condition;
  /** Negates each comparison inside, so a row whose column is `null` matches neither `c` nor `not(c)`. */
  readonly not: (condition: Condition) => Condition;

  /** True when there is a related row (in the sub-query). */
  readonly exists: {
    <TRelationship extends RelationshipName<TTable, S>>(
      relationship: TRelationship,
      subquery?: (
        query: Query<DestinationTable<TTable, S, TRelationship>, S, DestinationRow<TTable, S, TRelationship>>,
      ) => AnyQuery,
      options?: ExistsOptions,
    ): Condition;
    <TRelationship extends RelationshipName<TTable, S>>(relationship: TRelationship, options: ExistsOptions): Condition;
  };
}
