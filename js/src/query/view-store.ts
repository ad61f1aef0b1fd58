import type {ReadonlyJSONValue} from '../json.js';
import type {TTL} from './ttl.js';
import type {ErroredQuery} from './view-factory.js';

/** How much is known of a query's answer: local data only, confirmed by the server, or refused by it. */
export type ResultType = 'unknown' | 'complete' | 'error';

/** Why the server refused a query. */
export interface QueryErrorDetails {
  readonly type: 'app' | 'parse';
  readonly message: string;
  readonly details?: ReadonlyJSONValue | undefined;
}

/** The state of a query's answer. */
export type QueryResultDetails =
  | {readonly type: 'unknown'}
  | {readonly type: 'complete'}
  | {
      readonly type: 'error';
      readonly error: QueryErrorDetails;
      /** Asks the server again. */
      readonly retry: () => void;
      /** @deprecated Use `retry`. */
      readonly refetch: () => void;
    };

/** The state of every answer at first. */
export const unknownDetails: QueryResultDetails = Object.freeze({type: 'unknown'});

/** Called when a view has new data or a new state. */
export type Listener<T> = (data: T, resultType: ResultType, error?: ErroredQuery) => void;

/** A live answer that is held until `destroy`. */
export interface TypedView<T> {
  readonly data: T;
  /** Calls the listener at once and after every change; returns a function that stops it. */
  addListener(listener: Listener<T>): () => void;
  updateTTL(ttl: TTL): void;
  destroy(): void;
}

/** A live answer in the form that React's `useSyncExternalStore` takes; shared by all who ask the same query. */
export interface ViewStore<T> {
  subscribe(listener: () => void): () => void;
  /** The last answer: the same tuple until something changed. */
  getSnapshot(): readonly [T, QueryResultDetails];
  updateTTL(ttl: TTL): void;
  retry(): void;
}
