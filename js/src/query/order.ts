/** The order of rows: what a query leaves open, and how two values compare. */
import type {ReadonlyJSONValue} from '../json.js';
import type {Ordering, OrderPart} from './ast.js';

/** The order that a query asks for, with the missing columns of the primary key after it. */
export function completeOrder(asked: Ordering | undefined, primaryKey: readonly string[]): OrderPart[] {
  const parts = asked ?? [];
  const missing = primaryKey.filter(column => !parts.some(([name]) => name === column));
  return [...parts, ...missing.map((column): OrderPart => [column, 'asc'])];
}

type Columns = {readonly [column: string]: ReadonlyJSONValue | undefined};

/** Compares rows by an order. */
export function rowComparator(order: Ordering): (a: Columns, b: Columns) => number {
  return (a, b) => {
    for (const [column, direction] of order) {
      const result = compareValues(a[column], b[column]);
      if (result !== 0) {
        return direction === 'asc' ? result : -result;
      }
    }
    return 0;
  };
}

// As the engine has it: nothing comes first, `false` before `true`, text by code point.
function compareValues(a: ReadonlyJSONValue | undefined, b: ReadonlyJSONValue | undefined): number {
  if (a === b) {
    return 0;
  }
  const left = a ?? null;
  const right = b ?? null;
  if (left === null || right === null) {
    return Number(left !== null) - Number(right !== null);
  }
  if (typeof left === 'string' && typeof right === 'string') {
    return compareText(left, right);
  }
  // No query is ordered by a column of JSON.
  return Number(left) - Number(right);
}

/** Orders text by code point, which is the order of its UTF-8 bytes. */
export function compareText(a: string, b: string): number {
  const end = Math.min(a.length, b.length);
  let at = 0;
  while (at < end && a.charCodeAt(at) === b.charCodeAt(at)) {
    at++;
  }
  if (at === end) {
    return a.length - b.length;
  }
  // Inside a surrogate pair the difference is in the low half, and both stand at the same place of the pair.
  return codePointRank(a.charCodeAt(at)) - codePointRank(b.charCodeAt(at));
}

/** Moves surrogates behind the other code units, where the code points that they stand for belong. */
function codePointRank(unit: number): number {
  return unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit;
}
