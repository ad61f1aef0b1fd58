/** What bindings to user interfaces build on, and applications do not need. */
import {type AnyQueryOrRequest, toQuery} from './query/query-registry.js';
import type {Stream} from './query/view-factory.js';

export {applyChange, type ExpandedNode, idSymbol, refCountSymbol, skipYields, type ViewChange} from './apply-change.js';
export {asQueryInternals, type QueryInternals, queryInternalsTag} from './query/internals.js';
export {DEFAULT_TTL_MS} from './query/ttl.js';

/** Data that nobody changes, to any depth. */
export type Immutable<T> = T extends undefined | null | boolean | string | number | symbol | bigint
  ? T
  : T extends readonly (infer U)[]
    ? readonly Immutable<U>[]
    : {readonly [K in keyof T]: Immutable<T[K]>};

/** The query that a request stands for, in this context; a query is returned as it is. */
export function addContextToQuery<Q extends AnyQueryOrRequest>(
  query: Q,
  context: unknown,
): Q extends {readonly query: {readonly fn: (...args: any) => infer TQuery}} ? TQuery : Q {
  return toQuery(query as AnyQueryOrRequest, context) as never;
}

/** Reads a stream to its end. */
export function consume(stream: Stream<unknown>): void {
  for (const _ of stream) {
  }
}

/** A copy that shares nothing. */
export function deepClone<T>(value: T): T {
  return structuredClone(value);
}

/** The value; throws if there is none. */
export function must<T>(value: T | undefined | null, message = `Unexpected ${value} value`): T {
  if (value === undefined || value === null) {
    throw new Error(message);
  }
  return value;
}

/** Throws if something does not hold. */
export function assert(holds: unknown, message: string | (() => string) = 'Assertion failed'): asserts holds {
  if (!holds) {
    throw new Error(typeof message === 'string' ? message : message());
  }
}

/** Throws: nothing leads here. */
export function unreachable(_value?: never): never {
  throw new Error('Unreachable');
}

