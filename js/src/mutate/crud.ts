import type {ReadonlyJSONObject, ReadonlyJSONValue} from '../json.js';
import type {SchemaValue, SchemaValueToTSType} from '../schema/schema-value.js';
import type {Schema} from '../schema/schema.js';
import type {TableSchema} from '../schema/table-schema.js';
import type {Expand} from '../type-tools.js';

type Columns<T extends TableSchema> = T['columns'];
type KeyColumn<T extends TableSchema> = T['primaryKey'][number] & keyof Columns<T>;

type OptionalColumn<T extends TableSchema> = {
  [K in keyof Columns<T>]: K extends KeyColumn<T> ? never : Columns<T>[K] extends {readonly optional: true} ? K : never;
}[keyof Columns<T>];

/** What names a row: its primary key. */
export type DeleteID<T extends TableSchema> = Expand<{
  readonly [K in KeyColumn<T>]: SchemaValueToTSType<Columns<T>[K]>;
}>;

/** A new row; optional columns may be left out. */
export type InsertValue<T extends TableSchema> = Expand<
  {readonly [K in Exclude<keyof Columns<T>, OptionalColumn<T>>]: SchemaValueToTSType<Columns<T>[K]>} & {
    readonly [K in OptionalColumn<T>]?: SchemaValueToTSType<Columns<T>[K]> | undefined;
  }
>;

/** A row that is made or changed. */
export type UpsertValue<T extends TableSchema> = InsertValue<T>;

/** The primary key, and the columns to change; columns that are left out or `undefined` stay as they are. */
export type UpdateValue<T extends TableSchema> = Expand<
  DeleteID<T> & {
    readonly [K in Exclude<keyof Columns<T>, KeyColumn<T>>]?: SchemaValueToTSType<Columns<T>[K]> | undefined;
  }
>;

/** Writes the rows of one table. */
export interface TableMutator<T extends TableSchema> {
  /** Makes a row; does nothing if there is one with this key. */
  insert(value: InsertValue<T>): Promise<void>;
  /** Makes a row, or changes the one with this key. */
  upsert(value: UpsertValue<T>): Promise<void>;
  /** Changes a row; does nothing if there is none with this key. */
  update(value: UpdateValue<T>): Promise<void>;
  /** Removes a row; does nothing if there is none with this key. */
  delete(id: DeleteID<T>): Promise<void>;
}

/** Writes the rows of each table of a schema. */
export type SchemaCRUD<S extends Schema> = {
  readonly [K in keyof S['tables'] & string]: TableMutator<S['tables'][K]>;
};

/** Another name of {@link SchemaCRUD}; what else Zero's has is not callable in mutators. */
export type MutateCRUD<S extends Schema, _TAddsTables extends boolean = true> = SchemaCRUD<S>;

/** The kinds of write. */
export type CRUDKind = 'insert' | 'upsert' | 'update' | 'delete';

/** One write, in client names; `value` has no `undefined` members, and for `delete` holds the primary key only. */
export interface CRUDOp {
  readonly op: CRUDKind;
  readonly table: string;
  readonly value: ReadonlyJSONObject;
}

const kinds: readonly CRUDKind[] = ['insert', 'upsert', 'update', 'delete'];

type Write = (op: CRUDOp) => Promise<void>;

/** Builds `tx.mutate`: checks each write against the schema and hands it on. */
export function makeCRUD<S extends Schema>(schema: S, write: Write): SchemaCRUD<S> {
  return new Proxy<CRUD>({tables: schema.tables, write, made: {}}, crudHandler) as unknown as SchemaCRUD<S>;
}

interface CRUD {
  readonly tables: Schema['tables'];
  readonly write: Write;
  readonly made: {[table: string]: object};
}

// A transaction writes to one or two tables of many: the others cost nothing until somebody looks.
const crudHandler: ProxyHandler<CRUD> = {
  get({tables, write, made}, name) {
    if (typeof name !== 'string' || !Object.hasOwn(tables, name)) {
      return undefined;
    }
    return (made[name] ??= tableMutator(tables[name]!, write));
  },
  has: ({tables}, name) => Object.hasOwn(tables, name),
  ownKeys: ({tables}) => Object.keys(tables),
  getOwnPropertyDescriptor: (crud, name) =>
    Object.hasOwn(crud.tables, name)
      ? {value: crudHandler.get!(crud, name, crud), enumerable: true, configurable: true, writable: false}
      : undefined,
  set: () => false,
  defineProperty: () => false,
  deleteProperty: () => false,
};

function tableMutator(table: TableSchema, write: Write): object {
  const mutator: {[kind: string]: unknown} = {};
  for (const op of kinds) {
    mutator[op] = (value: object) => {
      // A refused write rejects the promise that the mutator awaits.
      try {
        return write({op, table: table.name, value: checkedValue(table, op, value)});
      } catch (error) {
        return Promise.reject(error);
      }
    };
  }
  return Object.freeze(mutator);
}

/** The members of a value that are to be written; throws a `TypeError` that names table and column if one does not fit. */
export function checkedValue(table: TableSchema, op: CRUDKind, value: object): ReadonlyJSONObject {
  if (typeof value !== 'object' || value === null) {
    throw new TypeError(`${op} of table "${table.name}" needs an object, not ${value === null ? 'null' : typeof value}.`);
  }
  for (const column of table.primaryKey) {
    const part = (value as ReadonlyJSONObject)[column];
    if (part === undefined || part === null) {
      throw new TypeError(`${op} of table "${table.name}" needs the primary key column "${column}".`);
    }
  }
  const kept: {[column: string]: ReadonlyJSONValue} = {};
  for (const [name, member] of Object.entries(value)) {
    const column = Object.hasOwn(table.columns, name) ? table.columns[name] : undefined;
    if (column === undefined) {
      throw new TypeError(`Unknown column "${name}" of table "${table.name}" in ${op}.`);
    }
    if (member !== undefined && (op !== 'delete' || table.primaryKey.includes(name))) {
      checkType(table, name, column, member);
      kept[name] = member as ReadonlyJSONValue;
    }
  }
  return kept;
}

function checkType(table: TableSchema, name: string, {type}: SchemaValue, value: unknown): void {
  if (value === null || type === 'json' || type === 'null') {
    return;
  }
  const shown = typeof value === 'number' ? String(value) : typeof value;
  if (typeof value !== type || (type === 'number' && !Number.isFinite(value))) {
    throw new TypeError(`Column "${name}" of table "${table.name}" holds a ${type}, not ${shown}.`);
  }
}
