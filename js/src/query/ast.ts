import type {ReadonlyJSONValue} from '../json.js';

/** The direction of one part of an ordering. */
export type Direction = 'asc' | 'desc';

/** One part of an ordering: a column and its direction. */
export type OrderPart = readonly [column: string, direction: Direction];

/** An ordering, most significant part first. */
export type Ordering = readonly OrderPart[];

/** A query as data. Names are the client's until the AST is mapped for the server. */
export interface AST {
  readonly schema?: string | undefined;
  readonly table: string;
  /** Required on every subquery. */
  readonly alias?: string | undefined;
  readonly where?: Condition | undefined;
  readonly related?: readonly CorrelatedSubquery[] | undefined;
  readonly start?: Bound | undefined;
  readonly limit?: number | undefined;
  readonly orderBy?: Ordering | undefined;
}

/** The row a query starts at, by its place in the query's order. */
export interface Bound {
  readonly row: {readonly [column: string]: ReadonlyJSONValue | undefined};
  readonly exclusive: boolean;
}

/** Positional equality of columns of a parent row and a child row. */
export interface Correlation {
  readonly parentField: readonly [string, ...string[]];
  readonly childField: readonly [string, ...string[]];
}

/** Who put a subquery into a query. */
export type System = 'permissions' | 'client' | 'test';

/** A subquery and how its rows belong to the parent's. */
export interface CorrelatedSubquery {
  readonly system?: System | undefined;
  readonly correlation: Correlation;
  /** Set for the first hop through a junction table: its rows are not part of the result. */
  readonly hidden?: boolean | undefined;
  readonly subquery: AST;
}

/** What a row must satisfy. An empty `and` is true, an empty `or` is false. */
export type Condition = SimpleCondition | Conjunction | Disjunction | CorrelatedSubqueryCondition;

/** A comparison of a column, literal or parameter with a literal or parameter. */
export interface SimpleCondition {
  readonly type: 'simple';
  readonly left: ValuePosition;
  readonly right: LiteralReference | Parameter;
  readonly op: SimpleOperator;
}

/** True when all of its conditions are. */
export interface Conjunction {
  readonly type: 'and';
  readonly conditions: readonly Condition[];
}

/** True when one of its conditions is. */
export interface Disjunction {
  readonly type: 'or';
  readonly conditions: readonly Condition[];
}

/** True when the subquery has a row (`EXISTS`), or has none. */
export interface CorrelatedSubqueryCondition {
  readonly type: 'correlatedSubquery';
  readonly related: CorrelatedSubquery;
  readonly op: CorrelatedSubqueryOperator;
  readonly flip?: boolean | undefined;
  readonly scalar?: boolean | undefined;
}

/** The operators of a subquery condition. */
export type CorrelatedSubqueryOperator = 'EXISTS' | 'NOT EXISTS';

/** What may stand on the left of a comparison. */
export type ValuePosition = LiteralReference | ColumnReference | Parameter;

/** A column of the row that is tested. */
export interface ColumnReference {
  readonly type: 'column';
  readonly name: string;
}

/** A value written in the query. */
export interface LiteralReference {
  readonly type: 'literal';
  readonly value: LiteralValue;
}

/** The values a literal can have. */
export type LiteralValue = string | number | boolean | null | readonly (string | number | boolean)[];

/** A value that the server fills in when it judges a permission. */
export interface Parameter {
  readonly type: 'static';
  readonly anchor: 'authData' | 'preMutationRow';
  readonly field: string | readonly string[];
}

/** `=` and `!=`. */
export type EqualityOperator = '=' | '!=';
/** The comparisons that need an order. */
export type OrderOperator = '<' | '>' | '<=' | '>=';
/** Equality where `null` is a value like others. */
export type IsOperator = 'IS' | 'IS NOT';
/** All that say whether two values are the same. */
export type EqualityOps = EqualityOperator | IsOperator;
/** Pattern matching. */
export type LikeOperator = 'LIKE' | 'NOT LIKE' | 'ILIKE' | 'NOT ILIKE';
/** Membership in a list. */
export type InOperator = 'IN' | 'NOT IN';
/** All operators of a comparison. */
export type SimpleOperator = EqualityOperator | OrderOperator | IsOperator | LikeOperator | InOperator;
