/** The kinds of column there are. */
export type ValueType = 'string' | 'number' | 'boolean' | 'json' | 'null';

/** A column as the schema declares it. */
export type SchemaValue<T = unknown> =
  | {
      readonly type: ValueType;
      /** The column's name at the server, when it differs. */
      readonly serverName?: string | undefined;
      readonly optional?: boolean | undefined;
    }
  | SchemaValueWithCustomType<T>;

/** A column whose TypeScript type is narrower than its kind. */
export type SchemaValueWithCustomType<T> = {
  readonly type: ValueType;
  readonly serverName?: string | undefined;
  readonly optional?: boolean | undefined;
  /** Carries the type only; its value is `null`. */
  readonly customType: T;
};

/** The TypeScript type behind each kind of column. */
export type ValueTypeToTSType<T extends ValueType> = {
  readonly string: string;
  readonly number: number;
  readonly boolean: boolean;
  readonly json: import('../json.js').ReadonlyJSONValue;
  readonly null: null;
}[T];

/** The TypeScript type of a column; an optional column may also be `null`. */
export type SchemaValueToTSType<T extends SchemaValue> = T extends {readonly optional: true}
  ? BaseValueType<T> | null
  : BaseValueType<T>;

type BaseValueType<T extends SchemaValue> = T extends {readonly customType: infer V}
  ? V
  : T extends {readonly type: infer K extends ValueType}
    ? ValueTypeToTSType<K>
    : never;
