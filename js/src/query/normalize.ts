import type {
  AST,
  Condition,
  CorrelatedSubquery,
  CorrelatedSubqueryCondition,
  SimpleCondition,
  ValuePosition,
} from './ast.js';
import {simplify} from './condition.js';
import {compareText} from './order.js';

/**
 * The normal form as JSON text. The order in which a start row's columns were written says nothing, nor that of the members
 * of a JSON value: they stand in the order of their names, in which an object cannot hold names such as "10".
 */
export function normalText(ast: AST): string {
  return textOf(normalize(ast), false);
}

function textOf(value: unknown, inRow: boolean): string {
  if (typeof value !== 'object' || value === null) {
    return JSON.stringify(value) ?? 'null';
  }
  if (Array.isArray(value)) {
    return `[${value.map(member => textOf(member, inRow)).join(',')}]`;
  }
  const members = Object.entries(value).filter(([, member]) => member !== undefined);
  if (inRow) {
    members.sort(([a], [b]) => compareText(a, b));
  }
  // No other part of a query has a member of this name.
  const texts = members.map(([name, member]) => `${JSON.stringify(name)}:${textOf(member, inRow || name === 'row')}`);
  return `{${texts.join(',')}}`;
}

/**
 * The normal form of a query, for hashing: members in a fixed order, conditions and relationships sorted.
 *
 * Differs from Zero's where Zero confuses queries, or tells equal ones apart:
 * a condition that is always false stays (`{"type":"or","conditions":[]}`), groups always sort after sub-queries,
 * and the columns of the start row are sorted (in {@link normalText}).
 */
export function normalize(ast: AST): AST {
  const where = ast.where && normalizeWhere(ast.where);
  return {
    schema: ast.schema,
    table: ast.table,
    alias: ast.alias,
    where,
    related: ast.related && ast.related.map(normalizeRelated).sort(compareAliases),
    start: ast.start && {row: ast.start.row, exclusive: ast.start.exclusive},
    limit: ast.limit,
    orderBy: ast.orderBy?.map(([column, direction]) => [column, direction]),
  };
}

function normalizeRelated({correlation, hidden, subquery, system}: CorrelatedSubquery): CorrelatedSubquery {
  const {parentField, childField} = correlation;
  return {correlation: {parentField, childField}, hidden, subquery: normalize(subquery), system};
}

function compareAliases(a: CorrelatedSubquery, b: CorrelatedSubquery): number {
  return compareText(a.subquery.alias ?? '', b.subquery.alias ?? '');
}

function normalizeWhere(where: Condition): Condition | undefined {
  const simple = simplify(where);
  const always = simple.type === 'and' && simple.conditions.length === 0;
  return always ? undefined : sortCondition(simple);
}

function sortCondition(condition: Condition): Condition {
  switch (condition.type) {
    case 'simple':
      return {type: 'simple', left: condition.left, right: condition.right, op: condition.op};
    case 'correlatedSubquery':
      return sortSubquery(condition);
    case 'and':
    case 'or':
      return {type: condition.type, conditions: condition.conditions.map(sortCondition).sort(compareConditions)};
  }
}

function sortSubquery({related, op, flip, scalar}: CorrelatedSubqueryCondition): CorrelatedSubqueryCondition {
  const {system, correlation, hidden, subquery} = related;
  const {parentField, childField} = correlation;
  return {
    type: 'correlatedSubquery',
    related: {system, correlation: {parentField, childField}, hidden, subquery: normalize(subquery)},
    op,
    flip,
    scalar,
  };
}

const ranks = {simple: 0, correlatedSubquery: 1, and: 2, or: 2} as const;

function compareConditions(a: Condition, b: Condition): number {
  if (a.type === 'simple' && b.type === 'simple') {
    return compareSimple(a, b);
  }
  if (a.type === 'correlatedSubquery' && b.type === 'correlatedSubquery') {
    return compareSubqueries(a, b);
  }
  if ((a.type === 'and' || a.type === 'or') && (b.type === 'and' || b.type === 'or')) {
    return compareText(a.type, b.type) || compareLists(a.conditions, b.conditions);
  }
  return ranks[a.type] - ranks[b.type];
}

function compareSimple(a: SimpleCondition, b: SimpleCondition): number {
  return comparePositions(a.left, b.left) || compareText(a.op, b.op) || comparePositions(a.right, b.right);
}

function comparePositions(a: ValuePosition, b: ValuePosition): number {
  return compareText(a.type, b.type) || compareText(positionText(a), positionText(b));
}

function positionText(position: ValuePosition): string {
  switch (position.type) {
    case 'literal':
      return String(position.value);
    case 'column':
      return position.name;
    case 'static':
      throw new Error('Static parameters should be resolved before normalization');
  }
}

function compareSubqueries(a: CorrelatedSubqueryCondition, b: CorrelatedSubqueryCondition): number {
  return (
    compareAliases(a.related, b.related) ||
    compareText(a.op, b.op) ||
    flagRank(a.flip) - flagRank(b.flip) ||
    flagRank(a.scalar) - flagRank(b.scalar)
  );
}

function flagRank(flag: boolean | undefined): number {
  return flag === undefined ? 0 : flag ? 2 : 1;
}

function compareLists(a: readonly Condition[], b: readonly Condition[]): number {
  for (const [i, condition] of a.entries()) {
    const other = b[i];
    if (other === undefined) {
      return 1;
    }
    const order = compareConditions(condition, other);
    if (order !== 0) {
      return order;
    }
  }
  return a.length - b.length;
}
