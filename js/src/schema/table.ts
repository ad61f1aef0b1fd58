import type {ColumnBuilder} from './column.js';
import type {SchemaValueWithCustomType} from './schema-value.js';
import type {PrimaryKey, TableSchema} from './table-schema.js';

type AnyColumnBuilder = ColumnBuilder<SchemaValueWithCustomType<unknown>>;
type ColumnBuilders = {readonly [column: string]: {readonly schema: SchemaValueWithCustomType<unknown>}};

/** The same table with one member of another type; written out, so that editors show a table and not how it was made. */
type Replaced<TShape extends TableSchema, TName extends 'primaryKey' | 'uniqueKeys', TValue> = {
  [K in keyof TShape | TName]: K extends TName ? TValue : K extends keyof TShape ? TShape[K] : never;
} extends infer T extends TableSchema
  ? T
  : never;

/** A table whose columns are not declared yet. */
export class TableBuilder<const TName extends string> {
  readonly #name: TName;
  readonly #serverName: string | undefined;

  constructor(name: TName, serverName?: string) {
    this.#name = name;
    this.#serverName = serverName;
  }

  /** Gives the table's name at the server; a leading `public.` is dropped. */
  from(serverName: string): TableBuilder<TName> {
    return new TableBuilder(this.#name, serverName.replace(/^public\./, ''));
  }

  /** Declares the columns. */
  columns<const TBuilders extends ColumnBuilders>(
    columns: TBuilders,
  ): TableBuilderWithColumns<{
    name: TName;
    columns: {readonly [K in keyof TBuilders]: TBuilders[K]['schema']};
    primaryKey: PrimaryKey;
  }> {
    const built = Object.fromEntries(
      Object.entries(columns).map(([name, builder]) => [name, (builder as AnyColumnBuilder).schema]),
    ) as {readonly [K in keyof TBuilders]: TBuilders[K]['schema']};
    return new TableBuilderWithColumns({
      name: this.#name,
      ...(this.#serverName === undefined ? {} : {serverName: this.#serverName}),
      columns: built,
      // Filled by primaryKey(); build() refuses a table without one.
      primaryKey: [] as unknown as PrimaryKey,
    });
  }
}

/** A table with its columns; it still needs a primary key before it can be part of a schema. */
export class TableBuilderWithColumns<const TShape extends TableSchema> {
  readonly #schema: TShape;

  constructor(schema: TShape) {
    this.#schema = schema;
  }

  /** Declares the primary key: one column or several. */
  primaryKey<const TKey extends readonly [keyof TShape['columns'] & string, ...(keyof TShape['columns'] & string)[]]>(
    ...key: TKey
  ): TableBuilderWithColumns<Replaced<TShape, 'primaryKey', TKey>> {
    return new TableBuilderWithColumns({...this.#schema, primaryKey: key} as never);
  }

  /** Declares a further unique key; may be called again for another. */
  unique<const TKey extends readonly [keyof TShape['columns'] & string, ...(keyof TShape['columns'] & string)[]]>(
    ...key: TKey
  ): TableBuilderWithColumns<
    Replaced<
      TShape,
      'uniqueKeys',
      TShape extends {uniqueKeys: infer K extends readonly (readonly string[])[]} ? readonly [...K, TKey] : readonly [TKey]
    >
  > {
    const uniqueKeys = [...(this.#schema.uniqueKeys ?? []), key];
    return new TableBuilderWithColumns({...this.#schema, uniqueKeys} as never);
  }

  /** The table in its runtime shape. */
  get schema(): TShape {
    return this.#schema;
  }

  /** Checks the declaration and returns the table in its runtime shape. */
  build(): TShape {
    const {name, primaryKey, columns} = this.#schema;
    // To an object this is no member like others: rows could not hold it.
    if (name === '__proto__' || Object.hasOwn(columns, '__proto__')) {
      throw new Error(`Table "${name}": "__proto__" must have another name here, with .from('__proto__')`);
    }
    if (primaryKey.length === 0) {
      throw new Error(`Table "${name}" is missing a primary key`);
    }
    const stranger = primaryKey.find(column => !Object.hasOwn(columns, column));
    if (stranger !== undefined) {
      throw new Error(`Table "${name}" has no column "${stranger}", which its primary key names`);
    }
    const seen = new Set<string>();
    for (const [column, {serverName}] of Object.entries(columns)) {
      const referenced = serverName ?? column;
      if (seen.has(referenced)) {
        throw new Error(`Table "${name}" has multiple columns referencing "${referenced}"`);
      }
      seen.add(referenced);
    }
    return this.#schema;
  }
}

/** Starts the declaration of a table. */
export function table<const TName extends string>(name: TName): TableBuilder<TName> {
  return new TableBuilder(name);
}
