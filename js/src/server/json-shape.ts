/** A JSON value from outside does not have the expected shape. */
export class ShapeError extends Error {
  override readonly name = 'ShapeError';
}

/** An object of JSON, after a check. */
export type JSONRecord = {readonly [key: string]: unknown};

/** Expects an object; `at` names the place for the message. */
export function expectObject(value: unknown, at: string): JSONRecord {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new ShapeError(`Expected an object at ${at}, got ${kindOf(value)}`);
  }
  return value as JSONRecord;
}

/** Expects a list. */
export function expectArray(value: unknown, at: string): readonly unknown[] {
  if (!Array.isArray(value)) {
    throw new ShapeError(`Expected a list at ${at}, got ${kindOf(value)}`);
  }
  return value;
}

/** Expects a string. */
export function expectString(value: unknown, at: string): string {
  if (typeof value !== 'string') {
    throw new ShapeError(`Expected a string at ${at}, got ${kindOf(value)}`);
  }
  return value;
}

/** Expects a number. */
export function expectNumber(value: unknown, at: string): number {
  if (typeof value !== 'number') {
    throw new ShapeError(`Expected a number at ${at}, got ${kindOf(value)}`);
  }
  return value;
}

/** Expects a whole number from zero up. */
export function expectCount(value: unknown, at: string): number {
  const n = expectNumber(value, at);
  if (!Number.isSafeInteger(n) || n < 0) {
    throw new ShapeError(`Expected a whole number at ${at}, got ${n}`);
  }
  return n;
}

function kindOf(value: unknown): string {
  if (value === undefined) {
    return 'nothing';
  }
  if (value === null) {
    return 'null';
  }
  return Array.isArray(value) ? 'a list' : `a value of type ${typeof value}`;
}
