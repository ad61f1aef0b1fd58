'use client';

import {useEffect, useMemo, useSyncExternalStore} from 'react';
import * as React from 'react';
import type {Args} from '../json.js';
import {asQueryInternals} from '../query/internals.js';
import type {AnyQuery, HumanReadable} from '../query/query.js';
import {type AnyQueryOrRequest, type QueryOrQueryRequest, toQuery} from '../query/query-registry.js';
import {DEFAULT_TTL, type TTL} from '../query/ttl.js';
import {type QueryResultDetails, unknownDetails, type ViewStore} from '../query/view-store.js';
import {hasTag} from '../registry.js';
import type {Schema} from '../schema/schema.js';
import type {Falsy} from '../type-tools.js';
import {useZero} from './zero-context.js';

/** How `useQuery` asks. */
export interface UseQueryOptions {
  /** When `false` the query is not asked, and the answer is empty. */
  readonly enabled?: boolean | undefined;
  /** How long the query stays alive after its last user has gone; `'5m'` by default. */
  readonly ttl?: TTL | undefined;
}

/** How `useSuspenseQuery` asks. */
export interface UseSuspenseQueryOptions extends UseQueryOptions {
  /** Wait for `'partial'` data (some rows, or a confirmed answer; the default), or for a `'complete'` answer. */
  readonly suspendUntil?: 'partial' | 'complete' | undefined;
}

/** What `useQuery` returns: the answer and its state. */
export type QueryResult<TReturn> = readonly [HumanReadable<TReturn>, QueryResultDetails];

/** What `useQuery` returns when there may be no query. */
export type MaybeQueryResult<TReturn> = readonly [HumanReadable<TReturn> | undefined, QueryResultDetails];

/**
 * The live answer of a query.
 *
 * ```tsx
 * const [issues, {type}] = useQuery(queries.issue.open({limit: 50}));
 * const [issue] = useQuery(id && queries.issue.byID({id}));
 * ```
 */
export function useQuery<
  TTable extends keyof S['tables'] & string,
  TInput extends Args,
  TOutput extends Args,
  S extends Schema,
  TReturn,
>(
  query: QueryOrQueryRequest<TTable, TInput, TOutput, S, TReturn, any>,
  options?: UseQueryOptions | boolean,
): QueryResult<TReturn>;
export function useQuery<
  TTable extends keyof S['tables'] & string,
  TInput extends Args,
  TOutput extends Args,
  S extends Schema,
  TReturn,
>(
  query: QueryOrQueryRequest<TTable, TInput, TOutput, S, TReturn, any> | Falsy,
  options?: UseQueryOptions | boolean,
): MaybeQueryResult<TReturn>;
export function useQuery(query: AnyQueryOrRequest | Falsy, options?: UseQueryOptions | boolean): Snapshot {
  return useStore(useViewStore(query, asOptions(options)));
}

/** The live answer of a query; suspends until there is one. */
export function useSuspenseQuery<
  TTable extends keyof S['tables'] & string,
  TInput extends Args,
  TOutput extends Args,
  S extends Schema,
  TReturn,
>(
  query: QueryOrQueryRequest<TTable, TInput, TOutput, S, TReturn, any>,
  options?: UseSuspenseQueryOptions | boolean,
): QueryResult<TReturn>;
export function useSuspenseQuery<
  TTable extends keyof S['tables'] & string,
  TInput extends Args,
  TOutput extends Args,
  S extends Schema,
  TReturn,
>(
  query: QueryOrQueryRequest<TTable, TInput, TOutput, S, TReturn, any> | Falsy,
  options?: UseSuspenseQueryOptions | boolean,
): MaybeQueryResult<TReturn>;
export function useSuspenseQuery(
  query: AnyQueryOrRequest | Falsy,
  options?: UseSuspenseQueryOptions | boolean,
): Snapshot {
  const all: UseSuspenseQueryOptions = asOptions(options);
  const store = useViewStore(query, all);
  const snapshot = useStore(store);
  suspendOn(isStill(store) ? over : waitFor(store, snapshot, all.suspendUntil ?? 'partial'));
  return snapshot;
}

type Snapshot = readonly [any, QueryResultDetails];
type AnyStore = ViewStore<any>;

function asOptions(options: UseQueryOptions | boolean | undefined): UseQueryOptions {
  return typeof options === 'boolean' ? {enabled: options} : (options ?? {});
}

/** The store of a query; the same one on every render, as long as the query is the same. */
function useViewStore(given: AnyQueryOrRequest | Falsy, {enabled = true, ttl = DEFAULT_TTL}: UseQueryOptions): AnyStore {
  const zero = useZero();
  const query = useResolvedQuery(given || undefined, zero.context);
  const store: AnyStore =
    query === undefined
      ? noQuery
      : enabled
        ? zero.viewStore(query, {ttl})
        : asQueryInternals(query).format.singular
          ? disabledSingular
          : disabledPlural;
  useEffect(() => store.updateTTL(ttl), [store, ttl]);
  return store;
}

/** Runs a named query's function once for equal arguments, so that a function of the clock does not make a new query on every render. */
function useResolvedQuery(given: AnyQueryOrRequest | undefined, context: unknown): AnyQuery | undefined {
  const named = hasTag(given, 'QueryRequest') ? (given as {readonly query: object}).query : undefined;
  const args = named === undefined ? undefined : JSON.stringify((given as {readonly args: unknown}).args);
  const resolved = useMemo(
    () => (named === undefined ? undefined : toQuery(given as AnyQueryOrRequest, context)),
    // `given` is new on every render; the named query and its arguments are what it stands for.
    [named, args, context],
  );
  return named === undefined ? given && toQuery(given, context) : resolved;
}

function useStore(store: AnyStore): Snapshot {
  const [subscribe, getSnapshot] = useMemo(
    () => [(listener: () => void) => store.subscribe(listener), () => store.getSnapshot()] as const,
    [store],
  );
  return useSyncExternalStore(subscribe, getSnapshot, getSnapshot);
}

const noQuery = stillStore(undefined);
const disabledSingular = stillStore(undefined);
const disabledPlural = stillStore(Object.freeze([]));

/** A store that never changes. */
function stillStore(data: unknown): AnyStore {
  const snapshot: Snapshot = Object.freeze([data, unknownDetails]);
  return {subscribe: () => () => {}, getSnapshot: () => snapshot, updateTTL: () => {}, retry: () => {}};
}

function isStill(store: AnyStore): boolean {
  return store === noQuery || store === disabledSingular || store === disabledPlural;
}

type Until = 'partial' | 'complete';

function isEnough([data, details]: Snapshot, until: Until): boolean {
  const some = Array.isArray(data) ? data.length > 0 : data !== undefined;
  return details.type !== 'unknown' || (until === 'partial' && some);
}

/** A promise that says by itself whether it is over, in the words of React's `use`, which then need not wait to find out. */
interface Wait extends Promise<void> {
  status?: 'pending' | 'fulfilled';
  value?: undefined;
}

function end(wait: Wait): Wait {
  wait.status = 'fulfilled';
  wait.value = undefined;
  return wait;
}

const over = end(Promise.resolve());

/** What components wait for: every render of a component is given the same promise, when it is over as well. */
const waits = new WeakMap<AnyStore, {[K in Until]?: Wait}>();

function waitFor(store: AnyStore, snapshot: Snapshot, until: Until): Wait {
  const known = waits.get(store)?.[until];
  const isOver = known?.status === 'fulfilled';
  if (isEnough(snapshot, until)) {
    return isOver ? known : over;
  }
  return known === undefined || isOver ? newWait(store, until) : known;
}

/** Is over when a store has enough; being subscribed keeps its view alive until then. */
function newWait(store: AnyStore, until: Until): Wait {
  let resolve!: () => void;
  const wait: Wait = new Promise<void>(done => {
    resolve = done;
  });
  waits.set(store, {...waits.get(store), [until]: wait});
  const unsubscribe = store.subscribe(check);
  check();
  return wait;

  function check(): void {
    if (wait.status !== 'fulfilled' && isEnough(store.getSnapshot(), until)) {
      end(wait);
      resolve();
      // Not at once: the component that waits subscribes when it renders again.
      setTimeout(() => unsubscribe(), 0);
    }
  }
}

/** React wants to see the promise again when the wait is over, so this is called by every render. */
function suspendOn(wait: Wait): void {
  // React 18 has no `use`, and a bundler must not be told to import it by name.
  const {use} = React as {use?: (promise: Promise<void>) => void};
  if (use !== undefined) {
    use(wait);
  } else if (wait.status !== 'fulfilled') {
    throw wait;
  }
}
