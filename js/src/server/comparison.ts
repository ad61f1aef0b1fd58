import type {LiteralValue, SimpleOperator} from '../query/ast.js';
import {readExpression, textExpression} from './column-read.js';
import {valueTypeOf} from './column-kind.js';
import {arrayLiteral, type Parameters} from './parameters.js';
import {isTimestamp, timestampText} from './postgres-text.js';
import type {ServerColumn} from './server-schema.js';

/** What a comparison is compiled with. */
export interface ComparisonContext {
  readonly parameters: Parameters;
  readonly unicodeCollation: string | undefined;
}

type Scalar = string | number | boolean;

/**
 * Compiles `column op value`.
 *
 * The answer is that of the client's value, not of the database's type: a number never equals a string,
 * text is ordered by bytes, enums and uuids are text. Where the database's own operator gives the same
 * answer it is used, so that its indexes are. One difference is accepted for their sake: NaN and infinity, which
 * clients see as null, are compared and ordered as Postgres does it.
 */
export function compileComparison(
  column: ServerColumn,
  ref: string,
  op: SimpleOperator,
  value: LiteralValue,
  context: ComparisonContext,
): string {
  if (op === 'IS' || op === 'IS NOT') {
    return compileIs(column, ref, op, value, context);
  }
  if (value === null) {
    return 'FALSE';
  }
  if (column.isArray || column.kind === 'json') {
    throw new TypeError(`${column.label} holds JSON and can only be compared with null, by IS and IS NOT`);
  }
  switch (op) {
    case 'IN':
    case 'NOT IN':
      return compileIn(column, ref, op, value, context);
    case '=':
    case '!=':
      return compileEquality(column, ref, op, scalar(value, op), context);
    case '<':
    case '<=':
    case '>':
    case '>=':
      return compileOrder(column, ref, op, scalar(value, op), context);
    case 'LIKE':
    case 'NOT LIKE':
    case 'ILIKE':
    case 'NOT ILIKE':
      return compileLike(column, ref, op, scalar(value, op), context);
  }
}

function scalar(value: Exclude<LiteralValue, null>, op: string): Scalar {
  if (typeof value === 'object') {
    throw new TypeError(`The operator ${op} takes one value, not a list`);
  }
  return value;
}

function compileIs(
  column: ServerColumn,
  ref: string,
  op: 'IS' | 'IS NOT',
  value: LiteralValue,
  context: ComparisonContext,
): string {
  if (value === null) {
    return `${ref} ${op} NULL`;
  }
  if (column.isArray || column.kind === 'json') {
    throw new TypeError(`${column.label} holds JSON and can only be compared with null, by IS and IS NOT`);
  }
  const equal = compileEquality(column, ref, '=', scalar(value, op), context);
  // Outside of NOT, "unknown" and "false" keep the same rows, so IS can use the operator that has an index.
  return op === 'IS' ? equal : `(${equal}) IS NOT TRUE`;
}

function compileEquality(
  column: ServerColumn,
  ref: string,
  op: '=' | '!=',
  value: Scalar,
  context: ComparisonContext,
): string {
  const text = equalityText(column, value);
  if (text === undefined) {
    return op === '=' ? 'FALSE' : `${ref} IS NOT NULL`;
  }
  const {left, type} = equalityOperands(column, ref);
  return `${left} ${op === '=' ? '=' : '<>'} ${context.parameters.bind(text, type)}`;
}

function compileIn(
  column: ServerColumn,
  ref: string,
  op: 'IN' | 'NOT IN',
  values: LiteralValue,
  context: ComparisonContext,
): string {
  if (!Array.isArray(values)) {
    throw new TypeError(`The operator ${op} takes a list`);
  }
  if (values.length === 0) {
    return op === 'IN' ? 'FALSE' : 'TRUE';
  }
  const texts = (values as readonly Scalar[])
    .map(value => equalityText(column, value))
    .filter(text => text !== undefined);
  if (texts.length === 0) {
    return op === 'IN' ? 'FALSE' : `${ref} IS NOT NULL`;
  }
  const {left, type} = equalityOperands(column, ref);
  const list = context.parameters.bind(arrayLiteral(texts), `${type}[]`);
  return op === 'IN' ? `${left} = ANY(${list})` : `${left} <> ALL(${list})`;
}

/** The two sides of an equality: the column in SQL, and the type that `equalityText` is cast to. */
function equalityOperands(column: ServerColumn, ref: string): {left: string; type: string} {
  switch (column.kind) {
    case 'integer':
    case 'bigint':
      return {left: ref, type: 'int8'};
    case 'time':
    case 'timetz':
      return {left: `(${readExpression(column, ref)})`, type: 'numeric'};
    case 'text':
      return {left: ref, type: 'text'};
    case 'character':
    case 'inet':
    case 'named-text':
      return {left: `(${textExpression(column, ref)})`, type: 'text'};
    case 'real':
    case 'double':
    case 'numeric':
    case 'boolean':
    case 'uuid':
    case 'enum':
    case 'json':
    case 'date':
    case 'timestamp':
    case 'timestamptz':
      return {left: ref, type: column.sqlType};
  }
}

/** The text of a value that a row of this column could equal; undefined when none ever does. */
function equalityText(column: ServerColumn, value: Scalar): string | undefined {
  if (typeof value !== valueTypeOf(column.kind)) {
    return undefined;
  }
  if (typeof value === 'number') {
    return numberEqualityText(column, value);
  }
  if (typeof value === 'string') {
    const possible = column.kind === 'uuid' ? isCanonicalUUID(value) : column.kind !== 'enum' || column.enumLabels.has(value);
    return possible && !value.includes('\0') ? value : undefined;
  }
  return String(value);
}

const LARGEST_FLOAT4 = 3.4028234663852886e38;
const SMALLEST_FLOAT4 = 1.2e-38;
const DAY_MS = 86_400_000;

function numberEqualityText(column: ServerColumn, value: number): string | undefined {
  if (!Number.isFinite(value)) {
    return undefined;
  }
  switch (column.kind) {
    case 'integer':
    case 'bigint':
      return Number.isSafeInteger(value) ? String(value) : undefined;
    case 'real':
      return isFloat4Range(value) ? String(value) : undefined;
    case 'date':
      return isTimestamp(value) && value % DAY_MS === 0 ? timestampText(value, column.label) : undefined;
    case 'timestamp':
    case 'timestamptz':
      return isTimestamp(value) ? timestampText(value, column.label) : undefined;
    default:
      return String(value);
  }
}

function isFloat4Range(value: number): boolean {
  const size = Math.abs(value);
  return size === 0 || (size >= SMALLEST_FLOAT4 && size <= LARGEST_FLOAT4);
}

function isCanonicalUUID(value: string): boolean {
  return /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(value);
}

function compileOrder(
  column: ServerColumn,
  ref: string,
  op: '<' | '<=' | '>' | '>=',
  value: Scalar,
  context: ComparisonContext,
): string {
  if (typeof value !== valueTypeOf(column.kind)) {
    throw new TypeError(`${column.label} is a ${valueTypeOf(column.kind)} and cannot be compared with a ${typeof value}`);
  }
  const {left, right} = orderOperands(column, ref, value, context.parameters);
  return `${left} ${op} ${right}`;
}

function orderOperands(
  column: ServerColumn,
  ref: string,
  value: Scalar,
  parameters: Parameters,
): {left: string; right: string} {
  switch (column.kind) {
    case 'boolean':
      return {left: ref, right: parameters.bind(String(value), 'bool')};
    case 'uuid':
      if (isCanonicalUUID(String(value))) {
        return {left: ref, right: parameters.bind(String(value), 'uuid')};
      }
      break;
    case 'real':
      if (isFloat4Range(Number(value))) {
        return {left: ref, right: parameters.bind(String(value), 'float4')};
      }
      return {left: ref, right: parameters.bind(String(value), 'float8')};
    case 'double':
      return {left: ref, right: parameters.bind(String(value), 'float8')};
    case 'integer':
    case 'bigint':
      return {left: ref, right: parameters.bind(String(value), Number.isSafeInteger(value) ? 'int8' : 'numeric')};
    case 'numeric':
      return {left: ref, right: parameters.bind(String(value), 'numeric')};
    case 'date':
    case 'timestamp':
    case 'timestamptz':
      if (isTimestamp(Number(value))) {
        const type = column.kind === 'date' ? 'timestamp' : column.kind;
        return {left: ref, right: parameters.bind(timestampText(Number(value), column.label), type)};
      }
      return {left: `(${readExpression(column, ref)})`, right: parameters.bind(String(value), 'numeric')};
    case 'time':
    case 'timetz':
      return {left: `(${readExpression(column, ref)})`, right: parameters.bind(String(value), 'numeric')};
    default:
      break;
  }
  // What is not a uuid has a place among uuids all the same: that of its text.
  const left = column.kind === 'uuid' ? `(${textExpression(column, ref)}) COLLATE "C"` : orderedExpression(column, ref);
  return {left, right: parameters.bind(String(value), 'text')};
}

/** The SQL expression whose native order is the order that clients see. */
export function orderedExpression(column: ServerColumn, ref: string): string {
  if (column.isArray || column.kind === 'json') {
    throw new TypeError(`${column.label} holds JSON, which has no order`);
  }
  switch (column.kind) {
    case 'text':
      return column.byteOrder ? ref : `${ref} COLLATE "C"`;
    case 'character':
    case 'enum':
    case 'inet':
    case 'named-text':
      return `(${textExpression(column, ref)}) COLLATE "C"`;
    case 'time':
    case 'timetz':
      return `(${readExpression(column, ref)})`;
    default:
      return ref;
  }
}

function compileLike(
  column: ServerColumn,
  ref: string,
  op: 'LIKE' | 'NOT LIKE' | 'ILIKE' | 'NOT ILIKE',
  pattern: Scalar,
  context: ComparisonContext,
): string {
  if (typeof pattern !== 'string') {
    throw new TypeError(`The operator ${op} takes a string`);
  }
  if (valueTypeOf(column.kind) !== 'string') {
    throw new TypeError(`${column.label} is a ${valueTypeOf(column.kind)}, and ${op} needs a string`);
  }
  if (/\\*$/.exec(pattern)![0].length % 2 === 1) {
    throw new TypeError('LIKE pattern must not end with escape character');
  }
  const text = textExpression(column, ref);
  const bound = context.parameters.bind(pattern, 'text');
  if (op === 'LIKE' || op === 'NOT LIKE') {
    return `${text} ${op} ${bound}`;
  }
  const {unicodeCollation} = context;
  if (unicodeCollation === undefined) {
    return `${text} ${op} ${bound}`;
  }
  // ILIKE folds case by the column's collation, which may know ASCII only. A sigma at the end of a word is lower-cased to
  // another letter than one before what a pattern leaves open.
  const fold = (sql: string): string => `replace(lower(${sql} COLLATE ${unicodeCollation}), 'ς', 'σ')`;
  const not = op === 'ILIKE' ? '' : 'NOT ';
  return `${fold(`(${text})`)} ${not}LIKE ${fold(bound)}`;
}
