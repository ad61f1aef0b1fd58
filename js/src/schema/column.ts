import type {ReadonlyJSONValue} from '../json.js';
import type {SchemaValueWithCustomType} from './schema-value.js';

/** The same column with a name at the server; written out, so that editors show a column and not how it was made. */
type Named<TColumn extends SchemaValueWithCustomType<unknown>, TName extends string> = {
  readonly [K in keyof TColumn | 'serverName']: K extends 'serverName' ? TName : K extends keyof TColumn ? TColumn[K] : never;
} extends infer T extends SchemaValueWithCustomType<unknown>
  ? T
  : never;

/** A column under construction; immutable, every call returns a new one. */
export class ColumnBuilder<const TColumn extends SchemaValueWithCustomType<unknown>> {
  readonly #column: TColumn;

  constructor(column: TColumn) {
    this.#column = column;
  }

  /** Gives the column's name at the server, when it differs from the name in TypeScript. */
  from<const TName extends string>(serverName: TName): ColumnBuilder<Named<TColumn, TName>> {
    return new ColumnBuilder({...this.#column, serverName} as never);
  }

  /** Lets the column hold `null`, and be left out when a row is inserted. */
  optional(): ColumnBuilder<{readonly [K in keyof TColumn]: K extends 'optional' ? true : TColumn[K]}> {
    return new ColumnBuilder({...this.#column, optional: true} as never);
  }

  /** The column in its runtime shape. */
  get schema(): TColumn {
    return this.#column;
  }
}

type Column<TType extends 'string' | 'number' | 'boolean' | 'json', T> = {
  readonly type: TType;
  readonly optional: false;
  readonly customType: T;
};

function column<TType extends 'string' | 'number' | 'boolean' | 'json', T>(
  type: TType,
): ColumnBuilder<Column<TType, T>> {
  return new ColumnBuilder<Column<TType, T>>({type, optional: false, customType: null as T});
}

/** A text column. `string<'a' | 'b'>()` narrows its TypeScript type. */
export function string<T extends string = string>(): ColumnBuilder<Column<'string', T>> {
  return column('string');
}

/** A number column: an IEEE double, also for dates and timestamps (milliseconds since 1970). */
export function number<T extends number = number>(): ColumnBuilder<Column<'number', T>> {
  return column('number');
}

/** A boolean column. */
export function boolean<T extends boolean = boolean>(): ColumnBuilder<Column<'boolean', T>> {
  return column('boolean');
}

/** A column holding any JSON value. `json<Settings>()` gives it a TypeScript type. */
export function json<T extends ReadonlyJSONValue = ReadonlyJSONValue>(): ColumnBuilder<Column<'json', T>> {
  return column('json');
}

/** A text column that holds one of a few values: `enumeration<'open' | 'closed'>()`. */
export function enumeration<T extends string>(): ColumnBuilder<Column<'string', T>> {
  return column('string');
}
