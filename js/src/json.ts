/** A JSON value whose members may not be changed. */
export type ReadonlyJSONValue =
  | null
  | string
  | boolean
  | number
  | ReadonlyJSONObject
  | readonly ReadonlyJSONValue[];

/** A JSON object whose members may not be changed; members that are `undefined` are dropped when it is sent. */
export type ReadonlyJSONObject = {
  readonly [key: string]: ReadonlyJSONValue | undefined;
};

/** A JSON value. */
export type JSONValue = null | string | boolean | number | JSONObject | JSONValue[];

/** A JSON object. */
export type JSONObject = {[key: string]: JSONValue | undefined};

/** What named queries and mutators take: one JSON value, or nothing. */
export type Args = ReadonlyJSONValue | undefined;
