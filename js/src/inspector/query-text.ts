/** Writes a query as the code that would build it. */
import type {AST, Condition, CorrelatedSubquery, CorrelatedSubqueryCondition, ValuePosition} from '../query/ast.js';

// Before the relationship's name in the aliases of conditions.
const mark = 'zsubq_';

/** For example `issue.where('open', '=', true).related('owner').limit(5)`. */
export function queryText(ast: AST): string {
  return ast.table + methods(ast);
}

function methods({where, related, start, limit, orderBy}: AST): string {
  return [
    where === undefined ? '' : whereMethods(where),
    ...(related ?? []).map(relatedMethod),
    start === undefined ? '' : `.start(${json(start.row)}${start.exclusive ? '' : ', {inclusive: true}'})`,
    ...(orderBy ?? []).map(([column, direction]) => `.orderBy(${quoted(column)}, '${direction}')`),
    limit === undefined ? '' : `.limit(${limit})`,
  ].join('');
}

function whereMethods(where: Condition): string {
  switch (where.type) {
    case 'and':
      return where.conditions.map(whereMethods).join('');
    case 'simple':
      return where.left.type === 'column'
        ? `.where(${position(where.left)}, '${where.op}', ${position(where.right)})`
        : `.where(({cmpLit}) => ${conditionText(where)})`;
    case 'correlatedSubquery':
      return where.op === 'EXISTS' ? `.whereExists(${existsArguments(where)})` : `.where(({not, exists}) => ${conditionText(where)})`;
    case 'or':
      return `.where(({${[...namesIn(where)].sort().join(', ')}}) => ${conditionText(where)})`;
  }
}

function conditionText(condition: Condition): string {
  switch (condition.type) {
    case 'and':
    case 'or':
      return `${condition.type}(${condition.conditions.map(conditionText).join(', ')})`;
    case 'simple': {
      const {left, op, right} = condition;
      return `${left.type === 'column' ? 'cmp' : 'cmpLit'}(${position(left)}, '${op}', ${position(right)})`;
    }
    case 'correlatedSubquery': {
      const exists = `exists(${existsArguments(condition)})`;
      return condition.op === 'EXISTS' ? exists : `not(${exists})`;
    }
  }
}

// The members of the expression builder that the text uses.
function namesIn(condition: Condition): Set<string> {
  switch (condition.type) {
    case 'and':
    case 'or':
      return new Set([condition.type, ...condition.conditions.flatMap(part => [...namesIn(part)])]);
    case 'simple':
      return new Set([condition.left.type === 'column' ? 'cmp' : 'cmpLit']);
    case 'correlatedSubquery':
      return new Set(condition.op === 'EXISTS' ? ['exists'] : ['exists', 'not']);
  }
}

function existsArguments({related, flip, scalar}: CorrelatedSubqueryCondition): string {
  const beyond = beyondJunction(related.subquery);
  const isScalar = beyond?.scalar ?? scalar;
  const options = {...(flip !== undefined && {flip}), ...(isScalar !== undefined && {scalar: isScalar})};
  const given = Object.keys(options).length === 0 ? '' : `, ${json(options)}`;
  return `${quoted(relationship(related))}${callback(beyond?.related.subquery ?? related.subquery)}${given}`;
}

// Through a junction a condition asks for a row there that has a row beyond.
function beyondJunction({where}: AST): CorrelatedSubqueryCondition | undefined {
  const isJunction = where?.type === 'correlatedSubquery' && where.related.subquery.alias?.startsWith(`${mark}zhidden_`);
  return isJunction === true ? where : undefined;
}

function relatedMethod(related: CorrelatedSubquery): string {
  // A junction is no part of the code: its relationship leads to the far table.
  const far = related.hidden === true ? related.subquery.related?.[0]?.subquery : undefined;
  return `.related(${quoted(relationship(related))}${callback(far ?? related.subquery)})`;
}

function callback(subquery: AST): string {
  const inner = methods(subquery);
  return inner === '' ? '' : `, q => q${inner}`;
}

function relationship({subquery}: CorrelatedSubquery): string {
  const alias = subquery.alias ?? subquery.table;
  return alias.startsWith(mark) ? alias.slice(mark.length) : alias;
}

function position(value: ValuePosition): string {
  switch (value.type) {
    case 'column':
      return quoted(value.name);
    case 'literal':
      return json(value.value);
    case 'static':
      return `${value.anchor}.${[value.field].flat().join('.')}`;
  }
}

function quoted(text: string): string {
  return `'${JSON.stringify(text).slice(1, -1).replaceAll('\\"', '"').replaceAll("'", "\\'")}'`;
}

function json(value: unknown): string {
  return typeof value === 'string' ? quoted(value) : JSON.stringify(value);
}
