import type {
  AST,
  Bound,
  Condition,
  CorrelatedSubquery,
  CorrelatedSubqueryCondition,
  LiteralReference,
  LiteralValue,
  OrderPart,
  Parameter,
  SimpleCondition,
} from '../query/ast.js';
import type {Format} from '../query/internals.js';
import {completeOrder} from '../query/order.js';
import {valueTypeOf} from './column-kind.js';
import {readExpression, textExpression, valueDecoder} from './column-read.js';
import {compileComparison, orderedExpression} from './comparison.js';
import {Parameters} from './parameters.js';
import {quoteIdentifier} from './quote.js';
import {decodeRows, type RowDecoder} from './row-decoder.js';
import type {ServerColumn, ServerSchema, ServerTable} from './server-schema.js';

/** A query as one SQL statement that answers with one row of one text column, `result`. */
export interface CompiledQuery {
  readonly sql: string;
  readonly args: (string | null)[];
  /** Turns the text of the result into rows. */
  decode(result: string | null): unknown;
}

/**
 * Compiles an AST in client names to one statement.
 *
 * Names are quoted and values are bound; nothing of the AST gets into the text of the statement otherwise.
 */
export function compileQuery(ast: AST, format: Format, serverSchema: ServerSchema): CompiledQuery {
  const compiler = new QueryCompiler(serverSchema);
  const {sql, decoder} = compiler.rows(ast, format, undefined);
  return {
    sql: `SELECT (${sql})::text AS "result"`,
    args: compiler.parameters.values,
    decode: result => decodeRows(result === null ? null : JSON.parse(result), decoder, format.singular),
  };
}

/** A table in the FROM clause. */
interface Scope {
  readonly table: ServerTable;
  readonly alias: string;
}

/** Extra conditions of a table's rows, given its scope. */
type Correlate = (scope: Scope) => string;

class QueryCompiler {
  readonly parameters = new Parameters();
  readonly #schema: ServerSchema;
  #aliases = 0;

  constructor(schema: ServerSchema) {
    this.#schema = schema;
  }

  /** One JSON object or NULL when the format is singular, else a JSON array. */
  rows(ast: AST, format: Format, correlate: Correlate | undefined): {sql: string; decoder: RowDecoder} {
    const scope = this.#scope(ast.table);
    const {sql: row, decoder} = this.#row(scope, ast, format);
    const order = completeOrder(ast.orderBy, scope.table.primaryKey);
    const conditions = [correlate?.(scope), this.#where(scope, ast.where), this.#start(scope, ast.start, order)];
    const where = conditions.filter(condition => condition !== undefined).join(' AND ');
    const limit = checkLimit(ast.limit);
    const select = [
      `SELECT ${row} FROM ${scope.table.sqlName} AS ${scope.alias}`,
      where === '' ? '' : `WHERE ${where}`,
      `ORDER BY ${order.map(part => orderTerm(scope, part)).join(', ')}`,
      this.#limit(limit, format.singular),
    ]
      .filter(clause => clause !== '')
      .join(' ');
    // An array made of a subquery keeps the subquery's order; an aggregate would not promise it.
    return {sql: format.singular ? select : `SELECT array_to_json(ARRAY(${select}))`, decoder};
  }

  #scope(tableName: string): Scope {
    const table = this.#schema.tables.get(tableName);
    if (table === undefined) {
      throw new Error(`unknown table "${tableName}"`);
    }
    return {table, alias: `"t${this.#aliases++}"`};
  }

  #row(scope: Scope, ast: AST, format: Format): {sql: string; decoder: RowDecoder} {
    const columns = [...scope.table.columns].map(([name, column]) => ({name, column}));
    const fields = columns.map(
      ({name, column}) => `${readExpression(column, reference(scope, column))} AS ${quoteIdentifier(name)}`,
    );
    // When two relationships have one name, the later one counts.
    const related = new Map((ast.related ?? []).map(entry => [relationshipName(entry), entry]));
    const relationships = [...related].map(([name, entry]) => {
      const subformat = format.relationships[name] ?? {singular: false, relationships: {}};
      const {sql, decoder} = this.#related(scope, entry, subformat);
      fields.push(`(${sql}) AS ${quoteIdentifier(name)}`);
      return {name, decoder, singular: subformat.singular};
    });
    const decoder: RowDecoder = {
      columns: columns.flatMap(({name, column}) => {
        const decode = valueDecoder(column);
        return decode === undefined ? [] : [{name, decode}];
      }),
      relationships,
    };
    return {sql: `(SELECT row_to_json("row") FROM (SELECT ${fields.join(', ')}) AS "row")`, decoder};
  }

  #related(parent: Scope, entry: CorrelatedSubquery, format: Format): {sql: string; decoder: RowDecoder} {
    if (entry.hidden !== true) {
      return this.rows(entry.subquery, format, child => correlation(entry, parent, child));
    }
    const [second, ...rest] = entry.subquery.related ?? [];
    if (second === undefined || rest.length > 0) {
      throw new Error(`The junction of relationship "${relationshipName(entry)}" must lead to exactly one table`);
    }
    // Each destination counts once, however many junction rows lead to it.
    return this.rows(second.subquery, format, child => {
      const junction = this.#scope(entry.subquery.table);
      const conditions = [
        correlation(entry, parent, junction),
        correlation(second, junction, child),
        this.#where(junction, entry.subquery.where),
      ].filter(condition => condition !== undefined);
      return `EXISTS (SELECT 1 FROM ${junction.table.sqlName} AS ${junction.alias} WHERE ${conditions.join(' AND ')})`;
    });
  }

  #where(scope: Scope, where: Condition | undefined): string | undefined {
    return where === undefined ? undefined : this.#condition(scope, where);
  }

  #condition(scope: Scope, condition: Condition): string {
    switch (condition.type) {
      case 'simple':
        return this.#simple(scope, condition);
      case 'and':
        return this.#group(scope, condition.conditions, ' AND ', 'TRUE');
      case 'or':
        return this.#group(scope, condition.conditions, ' OR ', 'FALSE');
      case 'correlatedSubquery':
        return this.#exists(scope, condition);
    }
  }

  #group(scope: Scope, conditions: readonly Condition[], joiner: string, empty: string): string {
    if (conditions.length === 0) {
      return empty;
    }
    return `(${conditions.map(condition => this.#condition(scope, condition)).join(joiner)})`;
  }

  #simple(scope: Scope, {left, op, right}: SimpleCondition): string {
    const value = literal(right);
    const context = {parameters: this.parameters, unicodeCollation: this.#schema.unicodeCollation};
    if (left.type === 'column') {
      const column = columnOf(scope.table, left.name);
      return compileComparison(column, reference(scope, column), op, value, context);
    }
    const constant = literal(left);
    if (constant === null) {
      return nullComparison(op, value);
    }
    const {column, text} = literalColumn(constant);
    return compileComparison(column, this.parameters.bind(text, column.sqlType), op, value, context);
  }

  #exists(scope: Scope, condition: CorrelatedSubqueryCondition): string {
    const {subquery} = condition.related;
    if (subquery.start !== undefined) {
      throw new Error('EXISTS subqueries must not have start');
    }
    if (subquery.related !== undefined && subquery.related.length > 0) {
      throw new Error('EXISTS subqueries must not have related');
    }
    // A limit above zero does not change whether there is a row.
    if (checkLimit(subquery.limit) === 0) {
      return condition.op === 'EXISTS' ? 'FALSE' : 'TRUE';
    }
    const child = this.#scope(subquery.table);
    const conditions = [correlation(condition.related, scope, child), this.#where(child, subquery.where)].filter(
      part => part !== undefined,
    );
    const select = `SELECT 1 FROM ${child.table.sqlName} AS ${child.alias} WHERE ${conditions.join(' AND ')}`;
    return `${condition.op} (${select})`;
  }

  #limit(limit: number | undefined, singular: boolean): string {
    const rows = singular ? Math.min(limit ?? 1, 1) : limit;
    return rows === undefined ? '' : `LIMIT ${this.parameters.bind(String(rows), 'int8')}`;
  }

  /** "After the bound" in the query's order; a column that the bound leaves out counts as NULL. */
  #start(scope: Scope, start: Bound | undefined, order: readonly OrderPart[]): string | undefined {
    if (start === undefined) {
      return undefined;
    }
    const ties: string[] = [];
    const alternatives: string[] = [];
    for (const [index, [name, direction]] of order.entries()) {
      const column = columnOf(scope.table, name);
      const value = boundValue(start, name);
      alternatives.push([...ties, this.#after(scope, column, value, direction)].join(' AND '));
      // A full tie counts only when the bound itself does, and nothing may be bound that is not used.
      if (index < order.length - 1 || !start.exclusive) {
        ties.push(this.#compare(scope, column, 'IS', value));
      }
    }
    if (!start.exclusive) {
      alternatives.push(ties.join(' AND '));
    }
    return `(${alternatives.map(alternative => `(${alternative})`).join(' OR ')})`;
  }

  #after(scope: Scope, column: ServerColumn, value: LiteralValue, direction: 'asc' | 'desc'): string {
    const ref = reference(scope, column);
    if (value === null) {
      return direction === 'asc' ? `${ref} IS NOT NULL` : 'FALSE';
    }
    return direction === 'asc'
      ? this.#compare(scope, column, '>', value)
      : `(${this.#compare(scope, column, '<', value)} OR ${ref} IS NULL)`;
  }

  #compare(scope: Scope, column: ServerColumn, op: 'IS' | '<' | '>', value: LiteralValue): string {
    const context = {parameters: this.parameters, unicodeCollation: this.#schema.unicodeCollation};
    return compileComparison(column, reference(scope, column), op, value, context);
  }
}

function reference(scope: Scope, column: ServerColumn): string {
  return `${scope.alias}.${column.sqlName}`;
}

function columnOf(table: ServerTable, name: string): ServerColumn {
  const column = table.columns.get(name);
  if (column === undefined) {
    throw new Error(`unknown column "${name}" of "${table.name}" table`);
  }
  return column;
}

function relationshipName({subquery}: CorrelatedSubquery): string {
  if (subquery.alias === undefined) {
    throw new Error(`The subquery on "${subquery.table}" has no alias`);
  }
  return subquery.alias;
}

function literal(value: LiteralReference | Parameter): LiteralValue {
  if (value.type === 'static') {
    throw new Error('static values should be resolved before a query is run');
  }
  return value.value;
}

function boundValue({row}: Bound, name: string): LiteralValue {
  const value = row[name] ?? null;
  if (value !== null && typeof value === 'object') {
    throw new TypeError(`start takes plain values, and "${name}" is ${Array.isArray(value) ? 'a list' : 'an object'}`);
  }
  return value;
}

function nullComparison(op: SimpleCondition['op'], value: LiteralValue): string {
  const holds = (op === 'IS' && value === null) || (op === 'IS NOT' && value !== null);
  return holds ? 'TRUE' : 'FALSE';
}

/** A literal on the left is compared like a column of its type. */
function literalColumn(value: Exclude<LiteralValue, null>): {column: ServerColumn; text: string} {
  const common = {
    label: 'a literal',
    sqlName: '',
    isArray: false,
    notNull: true,
    byteOrder: false,
    collation: 0,
    enumLabels: new Set<string>(),
  };
  switch (typeof value) {
    case 'string':
      return {column: {...common, kind: 'text', sqlType: 'text'}, text: value};
    case 'number':
      return {column: {...common, kind: 'double', sqlType: 'float8'}, text: String(value)};
    case 'boolean':
      return {column: {...common, kind: 'boolean', sqlType: 'bool'}, text: String(value)};
    default:
      throw new TypeError('A list can only stand on the right of IN and NOT IN');
  }
}

function orderTerm(scope: Scope, [name, direction]: OrderPart): string {
  const column = columnOf(scope.table, name);
  const expression = orderedExpression(column, reference(scope, column));
  // Naming the place of NULLs where there are none would keep the database from using an index.
  if (direction === 'asc') {
    return column.notNull ? `${expression} ASC` : `${expression} ASC NULLS FIRST`;
  }
  return column.notNull ? `${expression} DESC` : `${expression} DESC NULLS LAST`;
}

function checkLimit(limit: number | undefined): number | undefined {
  if (limit !== undefined && (!Number.isInteger(limit) || limit < 0 || limit > 2 ** 31 - 1)) {
    throw new RangeError(`A limit must be a whole number from 0 to 2147483647, not ${limit}`);
  }
  return limit;
}

function correlation(entry: CorrelatedSubquery, parent: Scope, child: Scope): string {
  const {parentField, childField} = entry.correlation;
  if (parentField.length === 0 || parentField.length !== childField.length) {
    throw new Error(`The correlation with "${entry.subquery.table}" must name as many columns on one side as on the other`);
  }
  return parentField
    .map((field, i) => joinEquality(parent, columnOf(parent.table, field), child, columnOf(child.table, childField[i]!)))
    .join(' AND ');
}

const NUMBERS = new Set(['integer', 'bigint', 'numeric']);

/** Equality of two columns, by what clients see when their types differ. */
function joinEquality(parent: Scope, left: ServerColumn, child: Scope, right: ServerColumn): string {
  if (left.isArray || left.kind === 'json' || right.isArray || right.kind === 'json') {
    throw new TypeError(`${left.label} and ${right.label} cannot be joined: one of them holds JSON`);
  }
  const leftRef = reference(parent, left);
  const rightRef = reference(child, right);
  if (left.kind === 'text' && right.kind === 'text') {
    return `${leftRef} = ${rightRef}${collationConflict(left, right) ? ' COLLATE "C"' : ''}`;
  }
  if (left.sqlType === right.sqlType && left.kind === right.kind && left.kind !== 'time' && left.kind !== 'timetz') {
    return `${leftRef} = ${rightRef}`;
  }
  if (NUMBERS.has(left.kind) && NUMBERS.has(right.kind)) {
    return `${leftRef} = ${rightRef}`;
  }
  const type = valueTypeOf(left.kind);
  if (type !== valueTypeOf(right.kind)) {
    throw new TypeError(`${left.label} and ${right.label} cannot be joined: they hold values of different types`);
  }
  return type === 'string'
    ? `(${textExpression(left, leftRef)}) = (${textExpression(right, rightRef)}) COLLATE "C"`
    : `(${readExpression(left, leftRef)})::numeric = (${readExpression(right, rightRef)})::numeric`;
}

/** The oid of the collation "default", which gives way to any other. */
const DEFAULT_COLLATION = 100;

/** Whether Postgres could not tell which of two collations to compare by, and so would refuse to. */
function collationConflict(left: ServerColumn, right: ServerColumn): boolean {
  return [left, right].every(({collation}) => collation !== DEFAULT_COLLATION) && left.collation !== right.collation;
}
