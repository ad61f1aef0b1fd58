import type {Schema} from '../schema/schema.js';
import type {TableSchema} from '../schema/table-schema.js';
import {columnKind, valueTypeOf, type ColumnKind} from './column-kind.js';
import {quoteIdentifier, quoteQualified} from './quote.js';

/** A column as the database has it. */
export interface ServerColumn {
  /** What messages call it: `column "title" of table "issue"`, in client names. */
  readonly label: string;
  /** The quoted name in the database. */
  readonly sqlName: string;
  /** The kind of the column, or of an array's elements. */
  readonly kind: ColumnKind;
  readonly isArray: boolean;
  /** The quoted type without length or precision, to cast to. */
  readonly sqlType: string;
  readonly notNull: boolean;
  /** True when the column's own collation already orders by bytes. */
  readonly byteOrder: boolean;
  /** The oid of the collation; 0 for types that have none. */
  readonly collation: number;
  readonly enumLabels: ReadonlySet<string>;
}

/** A table as the database has it. Columns go by their client names. */
export interface ServerTable {
  readonly name: string;
  /** The quoted, qualified name. */
  readonly sqlName: string;
  readonly columns: ReadonlyMap<string, ServerColumn>;
  /** Client names of the primary key, in declared order. */
  readonly primaryKey: readonly string[];
}

/** What the database says about the tables of a schema. Tables go by their client names. */
export interface ServerSchema {
  readonly tables: ReadonlyMap<string, ServerTable>;
  /** The quoted collation whose `lower()` knows all of Unicode, if the database has one. */
  readonly unicodeCollation: string | undefined;
}

/** The declared schema and the database do not fit each other. */
export class SchemaIncompatibleError extends Error {
  override readonly name = 'SchemaIncompatibleError';
  /** One sentence for each thing that does not fit. */
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(`The schema does not fit the database: ${problems.join(' ')}`);
    this.problems = problems;
  }
}

/** What this module needs of a transaction. */
export interface CatalogReader {
  query(sql: string, args: unknown[]): Promise<Iterable<{[column: string]: unknown}>>;
}

interface CatalogColumn {
  readonly name: string;
  readonly display: string;
  readonly type: string;
  readonly typeSchema: string;
  readonly typtype: string;
  readonly element: string | null;
  readonly elementSchema: string | null;
  readonly elementTyptype: string | null;
  readonly notNull: boolean;
  readonly byteOrder: boolean;
  readonly collation: number;
  readonly labels: readonly string[] | null;
}

interface CatalogTable {
  readonly client: string;
  readonly found: boolean;
  readonly columns: readonly CatalogColumn[] | null;
  readonly uniqueKeys: readonly (readonly string[])[] | null;
}

interface Catalog {
  readonly unicodeCollation: string | null;
  readonly tables: readonly CatalogTable[] | null;
}

// A domain is read, compared and written as the type below it: a cast to the domain would refuse values to compare with.
// Byte order is known for the C locales and for the built-in provider, whose collations all order by code point.
const CATALOG_QUERY = `
WITH wanted AS (
  SELECT w."client", w."schema", w."name", c.oid
  FROM json_to_recordset($1::text::json) AS w("client" text, "schema" text, "name" text)
  LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = w."schema"
  LEFT JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = w."name" AND c.relkind IN ('r', 'p')
),
byte_ordered AS (
  SELECT l.oid
  FROM pg_catalog.pg_collation l
  CROSS JOIN (SELECT * FROM pg_catalog.pg_database WHERE datname = current_database()) d
  WHERE (CASE l.collprovider::text WHEN 'd' THEN d.datlocprovider::text ELSE l.collprovider::text END) = 'b'
     OR ((CASE l.collprovider::text WHEN 'd' THEN d.datlocprovider::text ELSE l.collprovider::text END) = 'c'
         AND lower(replace(CASE l.collprovider::text WHEN 'd' THEN d.datcollate ELSE l.collcollate END, '-', ''))
             IN ('c', 'posix', 'c.utf8'))
)
SELECT json_build_object(
  'unicodeCollation', (
    SELECT quote_ident(n.nspname) || '.' || quote_ident(l.collname)
    FROM pg_catalog.pg_collation l JOIN pg_catalog.pg_namespace n ON n.oid = l.collnamespace
    WHERE n.nspname = 'pg_catalog' AND l.collname IN ('und-x-icu', 'pg_unicode_fast')
      AND l.collencoding IN (-1, (SELECT encoding FROM pg_catalog.pg_database WHERE datname = current_database()))
    ORDER BY l.collname DESC LIMIT 1
  ),
  'tables', (
    SELECT json_agg(json_build_object(
      'client', w."client",
      'found', w.oid IS NOT NULL,
      'columns', (
        SELECT json_agg(json_build_object(
          'name', a.attname,
          'display', format_type(a.atttypid, a.atttypmod),
          'type', t.typname, 'typeSchema', tn.nspname, 'typtype', t.typtype,
          'element', e.typname, 'elementSchema', en.nspname, 'elementTyptype', e.typtype,
          'notNull', a.attnotnull,
          'collation', a.attcollation::int8,
          'byteOrder', a.attcollation IN (SELECT oid FROM byte_ordered),
          'labels', (SELECT json_agg(v.enumlabel) FROM pg_catalog.pg_enum v WHERE v.enumtypid = t.oid)
        ))
        FROM pg_catalog.pg_attribute a
        CROSS JOIN LATERAL (
          WITH RECURSIVE chain AS (
            SELECT d.oid, d.typtype, d.typbasetype FROM pg_catalog.pg_type d WHERE d.oid = a.atttypid
            UNION ALL
            SELECT d.oid, d.typtype, d.typbasetype
            FROM chain JOIN pg_catalog.pg_type d ON d.oid = chain.typbasetype WHERE chain.typtype = 'd'
          )
          SELECT oid FROM chain WHERE typtype <> 'd'
        ) base
        JOIN pg_catalog.pg_type t ON t.oid = base.oid
        JOIN pg_catalog.pg_namespace tn ON tn.oid = t.typnamespace
        LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'
        LEFT JOIN pg_catalog.pg_namespace en ON en.oid = e.typnamespace
        WHERE a.attrelid = w.oid AND a.attnum > 0 AND NOT a.attisdropped
      ),
      'uniqueKeys', (
        SELECT json_agg((
          SELECT json_agg(a.attname)
          FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, position)
          JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
          WHERE k.position <= i.indnkeyatts
        ))
        FROM pg_catalog.pg_index i
        WHERE i.indrelid = w.oid AND i.indisunique AND i.indisvalid AND i.indimmediate
          AND i.indpred IS NULL AND i.indexprs IS NULL
      )
    ))
    FROM wanted w
  )
)::text AS "catalog"`;

/** Reads what the database has for the tables of `schema`, and checks that it fits. */
export async function readServerSchema(reader: CatalogReader, schema: Schema): Promise<ServerSchema> {
  const wanted = Object.values(schema.tables).map(table => ({client: table.name, ...serverName(table)}));
  const [row] = [...(await reader.query(CATALOG_QUERY, [JSON.stringify(wanted)]))];
  const text = row?.['catalog'];
  if (typeof text !== 'string') {
    throw new Error('The database gave no answer to the question for its tables');
  }
  return checkCatalog(schema, JSON.parse(text) as Catalog);
}

function serverName(table: TableSchema): {schema: string; name: string} {
  const full = table.serverName ?? table.name;
  const dot = full.indexOf('.');
  return dot === -1 ? {schema: 'public', name: full} : {schema: full.slice(0, dot), name: full.slice(dot + 1)};
}

function checkCatalog(schema: Schema, catalog: Catalog): ServerSchema {
  const problems: string[] = [];
  const tables = new Map<string, ServerTable>();
  for (const found of catalog.tables ?? []) {
    const declared = schema.tables[found.client];
    if (declared !== undefined) {
      tables.set(declared.name, checkTable(declared, found, problems));
    }
  }
  if (problems.length > 0) {
    throw new SchemaIncompatibleError(problems);
  }
  return {tables, unicodeCollation: catalog.unicodeCollation ?? undefined};
}

function checkTable(declared: TableSchema, found: CatalogTable, problems: string[]): ServerTable {
  const {schema, name} = serverName(declared);
  const shown = `${schema}.${name}`;
  const columns = new Map<string, ServerColumn>();
  if (!found.found) {
    problems.push(`Table "${declared.name}" needs ${shown}, which does not exist.`);
  } else {
    const byName = new Map((found.columns ?? []).map(column => [column.name, column]));
    for (const [clientName, value] of Object.entries(declared.columns)) {
      const column = byName.get(value.serverName ?? clientName);
      if (column === undefined) {
        problems.push(`${shown} has no column "${value.serverName ?? clientName}".`);
        continue;
      }
      const checked = checkColumn(declared.name, clientName, value.type, column);
      if (typeof checked === 'string') {
        problems.push(checked);
      } else {
        columns.set(clientName, checked);
      }
    }
    checkPrimaryKey(declared, shown, found, problems);
  }
  return {name: declared.name, sqlName: quoteQualified(schema, name), columns, primaryKey: declared.primaryKey};
}

function checkColumn(
  table: string,
  name: string,
  declared: string,
  column: CatalogColumn,
): ServerColumn | string {
  const isArray = column.element !== null;
  const kind = isArray
    ? columnKind(column.elementSchema ?? '', column.element ?? '', column.elementTyptype ?? '')
    : columnKind(column.typeSchema, column.type, column.typtype);
  if (kind === undefined) {
    return `${table}.${name} has the database type ${column.display}, which cannot be synced.`;
  }
  const actual = isArray ? 'json' : valueTypeOf(kind);
  if (actual !== declared) {
    return `${table}.${name} is declared as ${declared}, but its database type ${column.display} is read as ${actual}.`;
  }
  return {
    label: `column "${name}" of table "${table}"`,
    sqlName: quoteIdentifier(column.name),
    kind,
    isArray,
    sqlType: quoteQualified(column.typeSchema, column.type),
    notNull: column.notNull,
    byteOrder: column.byteOrder,
    collation: column.collation,
    enumLabels: new Set(column.labels ?? []),
  };
}

function checkPrimaryKey(declared: TableSchema, shown: string, found: CatalogTable, problems: string[]): void {
  const key = declared.primaryKey.map(column => declared.columns[column]?.serverName ?? column).sort();
  const isUnique = (found.uniqueKeys ?? []).some(
    unique => unique.length === key.length && [...unique].sort().every((column, i) => column === key[i]),
  );
  if (!isUnique) {
    problems.push(`${shown} has no primary key or unique index over exactly (${key.join(', ')}).`);
  }
}
