import type {ReadonlyJSONObject, ReadonlyJSONValue} from '../json.js';
import type {CRUDOp} from '../mutate/crud.js';
import {Parameters} from './parameters.js';
import {toPostgresText} from './postgres-text.js';
import type {ServerColumn, ServerSchema, ServerTable} from './server-schema.js';

/** One write as one SQL statement. */
export interface CompiledWrite {
  readonly sql: string;
  readonly args: (string | null)[];
}

interface Assignment {
  readonly column: ServerColumn;
  readonly value: ReadonlyJSONValue;
}

/** Compiles one write; undefined when it has nothing to change. */
export function compileWrite(op: CRUDOp, serverSchema: ServerSchema): CompiledWrite | undefined {
  const table = serverSchema.tables.get(op.table);
  if (table === undefined) {
    throw new Error(`unknown table "${op.table}"`);
  }
  const parameters = new Parameters();
  const sql = statement(op, table, parameters);
  return sql === undefined ? undefined : {sql, args: parameters.values};
}

function statement({op, value}: CRUDOp, table: ServerTable, parameters: Parameters): string | undefined {
  switch (op) {
    case 'insert':
      return `${insert(table, value, parameters)} DO NOTHING`;
    case 'upsert':
      return upsert(table, value, parameters);
    case 'update':
      return update(table, value, parameters);
    case 'delete':
      return `DELETE FROM ${table.sqlName} WHERE ${keyCondition(table, value, parameters)}`;
  }
}

function insert(table: ServerTable, row: ReadonlyJSONObject, parameters: Parameters): string {
  const conflict = key(table, row).map(({column}) => column.sqlName).join(', ');
  const given = assignments(table, row);
  const names = given.map(({column}) => column.sqlName).join(', ');
  const values = given.map(assignment => bind(assignment, parameters)).join(', ');
  return `INSERT INTO ${table.sqlName} (${names}) VALUES (${values}) ON CONFLICT (${conflict})`;
}

function upsert(table: ServerTable, row: ReadonlyJSONObject, parameters: Parameters): string {
  const start = insert(table, row, parameters);
  const changed = nonKey(table, row).map(({column}) => `${column.sqlName} = EXCLUDED.${column.sqlName}`);
  return changed.length === 0 ? `${start} DO NOTHING` : `${start} DO UPDATE SET ${changed.join(', ')}`;
}

function update(table: ServerTable, row: ReadonlyJSONObject, parameters: Parameters): string | undefined {
  const changed = nonKey(table, row).map(
    assignment => `${assignment.column.sqlName} = ${bind(assignment, parameters)}`,
  );
  const where = keyCondition(table, row, parameters);
  return changed.length === 0 ? undefined : `UPDATE ${table.sqlName} SET ${changed.join(', ')} WHERE ${where}`;
}

function keyCondition(table: ServerTable, row: ReadonlyJSONObject, parameters: Parameters): string {
  return key(table, row)
    .map(assignment => `${assignment.column.sqlName} = ${bind(assignment, parameters)}`)
    .join(' AND ');
}

/** The primary key of a row, in declared order; every column of it must be there. */
function key(table: ServerTable, row: ReadonlyJSONObject): Assignment[] {
  return table.primaryKey.map(name => {
    const value = row[name];
    if (value === undefined || value === null) {
      throw new TypeError(`${table.name}.${name} is part of the primary key and must have a value`);
    }
    return {column: columnOf(table, name), value};
  });
}

function nonKey(table: ServerTable, row: ReadonlyJSONObject): Assignment[] {
  const keyColumns = new Set(table.primaryKey.map(name => columnOf(table, name)));
  return assignments(table, row).filter(({column}) => !keyColumns.has(column));
}

/** The columns that the row gives; what is undefined is left to the database. */
function assignments(table: ServerTable, row: ReadonlyJSONObject): Assignment[] {
  return Object.entries(row).flatMap(([name, value]) =>
    value === undefined ? [] : [{column: columnOf(table, name), value}],
  );
}

function columnOf(table: ServerTable, name: string): ServerColumn {
  const column = table.columns.get(name);
  if (column === undefined) {
    throw new Error(`unknown column "${name}" of "${table.name}" table`);
  }
  return column;
}

function bind({column, value}: Assignment, parameters: Parameters): string {
  return parameters.bind(toPostgresText(value, column), column.sqlType);
}
