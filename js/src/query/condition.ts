import type {
  Condition,
  Conjunction,
  CorrelatedSubqueryOperator,
  Disjunction,
  LiteralReference,
  LiteralValue,
  Parameter,
  SimpleCondition,
  SimpleOperator,
} from './ast.js';

/** The condition that every row satisfies. */
export const TRUE: Conjunction = {type: 'and', conditions: []};

/** The condition that no row satisfies. */
export const FALSE: Disjunction = {type: 'or', conditions: []};

const negated: {readonly [K in SimpleOperator]: SimpleOperator} = {
  '=': '!=',
  '!=': '=',
  '<': '>=',
  '>=': '<',
  '>': '<=',
  '<=': '>',
  IN: 'NOT IN',
  'NOT IN': 'IN',
  LIKE: 'NOT LIKE',
  'NOT LIKE': 'LIKE',
  ILIKE: 'NOT ILIKE',
  'NOT ILIKE': 'ILIKE',
  IS: 'IS NOT',
  'IS NOT': 'IS',
};

const negatedExists: {readonly [K in CorrelatedSubqueryOperator]: CorrelatedSubqueryOperator} = {
  EXISTS: 'NOT EXISTS',
  'NOT EXISTS': 'EXISTS',
};

/** Whether a text is an operator of a comparison. */
export function isOperator(text: unknown): text is SimpleOperator {
  return typeof text === 'string' && Object.hasOwn(negated, text);
}

/** The conjunction of the conditions; `undefined` and true ones are left out. */
export function and(...conditions: (Condition | undefined)[]): Condition {
  const kept = conditions.filter(c => c !== undefined).filter(c => !isTrue(c));
  if (kept.length === 1) {
    return kept[0] as Condition;
  }
  return kept.some(isFalse) ? FALSE : {type: 'and', conditions: kept};
}

/** The disjunction of the conditions; `undefined` and false ones are left out. */
export function or(...conditions: (Condition | undefined)[]): Condition {
  const kept = conditions.filter(c => c !== undefined).filter(c => !isFalse(c));
  if (kept.length === 1) {
    return kept[0] as Condition;
  }
  return kept.some(isTrue) ? TRUE : {type: 'or', conditions: kept};
}

/** The opposite of a condition, pushed down to its comparisons: the AST has no "not". */
export function not(condition: Condition): Condition {
  switch (condition.type) {
    case 'and':
      return {type: 'or', conditions: condition.conditions.map(not)};
    case 'or':
      return {type: 'and', conditions: condition.conditions.map(not)};
    case 'correlatedSubquery':
      return {...condition, op: negatedExists[condition.op]};
    case 'simple':
      return {...condition, op: negated[condition.op]};
  }
}

/** The same condition without nested groups of one kind, groups of one, or constants inside groups. */
export function simplify(condition: Condition): Condition {
  if (condition.type !== 'and' && condition.type !== 'or') {
    return condition;
  }
  if (condition.conditions.length === 1) {
    return simplify(condition.conditions[0] as Condition);
  }
  const flat = condition.conditions
    .map(simplify)
    .flatMap(c => (c.type === condition.type ? c.conditions : [c]));
  return condition.type === 'and' ? and(...flat) : or(...flat);
}

/** A comparison whose left side is a column. */
export function compareColumn(column: string, op: SimpleOperator, value: unknown): SimpleCondition {
  return {type: 'simple', left: {type: 'column', name: column}, right: operand(op, value), op};
}

/** A comparison of two values. */
export function compareValues(left: unknown, op: SimpleOperator, right: unknown): SimpleCondition {
  return {type: 'simple', left: operand('=', left), right: operand(op, right), op};
}

/** Marks objects that stand for a parameter; calling the member gives the parameter. */
export const toParameter: unique symbol = Symbol('toParameter');

function operand(op: SimpleOperator, value: unknown): LiteralReference | Parameter {
  if (typeof value === 'object' && value !== null) {
    if (toParameter in value) {
      return (value[toParameter] as () => Parameter)();
    }
    if ('type' in value && value.type === 'static') {
      return value as Parameter;
    }
  }
  if ((op === 'IN' || op === 'NOT IN') && value !== undefined && value !== null && !Array.isArray(value)) {
    throw new TypeError(`The ${op} operator needs an array, not a ${typeof value}.`);
  }
  return {type: 'literal', value: literal(value)};
}

function literal(value: unknown): LiteralValue {
  if (value === undefined || value === null) {
    return null;
  }
  if (Array.isArray(value)) {
    return value.map(scalar);
  }
  return scalar(value);
}

/** A value that a query can compare with; throws for others. */
export function scalar(value: unknown): string | number | boolean {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return value;
    case 'number':
      if (Number.isFinite(value)) {
        return value;
      }
  }
  const shown = value === null || typeof value === 'number' || typeof value === 'undefined' ? String(value) : typeof value;
  throw new TypeError(`A query can compare with text, finite numbers and booleans, not with ${shown}.`);
}

function isTrue(condition: Condition): boolean {
  return condition.type === 'and' && condition.conditions.length === 0;
}

function isFalse(condition: Condition): boolean {
  return condition.type === 'or' && condition.conditions.length === 0;
}
