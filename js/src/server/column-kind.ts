import type {ValueType} from '../schema/schema-value.js';

/** How a Postgres type is represented on the client, and so how it is read, written and compared. */
export type ColumnKind =
  | 'integer'
  | 'bigint'
  | 'real'
  | 'double'
  | 'numeric'
  | 'boolean'
  | 'text'
  | 'character'
  | 'uuid'
  | 'enum'
  | 'inet'
  | 'named-text'
  | 'json'
  | 'date'
  | 'timestamp'
  | 'timestamptz'
  | 'time'
  | 'timetz';

const KIND_BY_TYPE: ReadonlyMap<string, ColumnKind> = new Map([
  ['int2', 'integer'],
  ['int4', 'integer'],
  ['int8', 'bigint'],
  ['float4', 'real'],
  ['float8', 'double'],
  ['numeric', 'numeric'],
  ['bool', 'boolean'],
  ['text', 'text'],
  ['varchar', 'text'],
  ['bpchar', 'character'],
  ['uuid', 'uuid'],
  ['inet', 'inet'],
  ['cidr', 'named-text'],
  ['macaddr', 'named-text'],
  ['macaddr8', 'named-text'],
  ['pg_lsn', 'named-text'],
  ['json', 'json'],
  ['jsonb', 'json'],
  ['date', 'date'],
  ['timestamp', 'timestamp'],
  ['timestamptz', 'timestamptz'],
  ['time', 'time'],
  ['timetz', 'timetz'],
]);

/** Text-like types of the extension `isn`; they may live in any schema. */
const ISN_TYPES: ReadonlySet<string> = new Set([
  'isbn',
  'isbn13',
  'ismn',
  'ismn13',
  'issn',
  'issn13',
  'upc',
  'ean13',
]);

/** The kind of a Postgres type, or undefined when such columns are not synced. */
export function columnKind(typeSchema: string, typeName: string, typtype: string): ColumnKind | undefined {
  if (typtype === 'e') {
    return 'enum';
  }
  if (typtype !== 'b') {
    return undefined;
  }
  if (typeSchema === 'pg_catalog') {
    return KIND_BY_TYPE.get(typeName);
  }
  return ISN_TYPES.has(typeName) ? 'named-text' : undefined;
}

/** The type that the schema declares for a column of this kind. */
export function valueTypeOf(kind: ColumnKind): ValueType {
  switch (kind) {
    case 'integer':
    case 'bigint':
    case 'real':
    case 'double':
    case 'numeric':
    case 'date':
    case 'timestamp':
    case 'timestamptz':
    case 'time':
    case 'timetz':
      return 'number';
    case 'boolean':
      return 'boolean';
    case 'json':
      return 'json';
    case 'text':
    case 'character':
    case 'uuid':
    case 'enum':
    case 'inet':
    case 'named-text':
      return 'string';
  }
}
