import {type Accessor, batch, createComputed, createEffect, createMemo, createSignal, on, onCleanup, untrack} from 'solid-js';
import {createStore, produce} from 'solid-js/store';
import type {Snapshot} from '../core/view-tree.js';
import type {Args} from '../json.js';
import {asQueryInternals} from '../query/internals.js';
import type {AnyQuery, HumanReadable} from '../query/query.js';
import {type AnyQueryOrRequest, type QueryOrQueryRequest, toQuery} from '../query/query-registry.js';
import {DEFAULT_TTL, type TTL} from '../query/ttl.js';
import {type QueryResultDetails, unknownDetails, type ViewStore} from '../query/view-store.js';
import type {Schema} from '../schema/schema.js';
import type {Falsy} from '../type-tools.js';
import {type Level, levelsOf} from '../view-changes.js';
import {isSameShape, replace, update} from './show.js';
import {useZero} from './use-zero.js';


/** How `useQuery` asks. */
export interface UseQueryOptions {
  /** How long the query stays alive after its last user has gone; `'5m'` by default. */
  readonly ttl?: TTL | undefined;
}

/** @deprecated Use `UseQueryOptions`. */
export type CreateQueryOptions = UseQueryOptions;

/** What `useQuery` returns: the answer and its state. */
export type QueryResult<TReturn> = readonly [Accessor<HumanReadable<TReturn>>, Accessor<QueryResultDetails>];

/** What `useQuery` returns when there may be no query. */
export type MaybeQueryResult<TReturn> = readonly [
  Accessor<HumanReadable<TReturn> | undefined>,
  Accessor<QueryResultDetails>,
];

/**
 * The live answer of a query, in a store: a component runs again only for what it reads.
 *
 * ```tsx
 * const [issues, details] = useQuery(() => queries.issue.open({limit: 50}));
 * <For each={issues()}>{issue => <li>{issue.title}</li>}</For>
 * ```
 */
export function useQuery<
  TTable extends keyof S['tables'] & string,
  TInput extends Args,
  TOutput extends Args,
  S extends Schema,
  TReturn,
>(
  query: Accessor<QueryOrQueryRequest<TTable, TInput, TOutput, S, TReturn, any>>,
  options?: UseQueryOptions | Accessor<UseQueryOptions>,
): QueryResult<TReturn>;
export function useQuery<
  TTable extends keyof S['tables'] & string,
  TInput extends Args,
  TOutput extends Args,
  S extends Schema,
  TReturn,
>(
  query: Accessor<QueryOrQueryRequest<TTable, TInput, TOutput, S, TReturn, any> | Falsy>,
  options?: UseQueryOptions | Accessor<UseQueryOptions>,
): MaybeQueryResult<TReturn>;
export function useQuery(
  query: Accessor<AnyQueryOrRequest | Falsy>,
  options?: UseQueryOptions | Accessor<UseQueryOptions>,
): readonly [Accessor<any>, Accessor<QueryResultDetails>] {
  const zero = useZero();
  const [state, setState] = createStore<{data: unknown; [name: string]: unknown}>({data: undefined});
  const [details, setDetails] = createSignal<QueryResultDetails>(unknownDetails);
  const ttl = createMemo(() => (typeof options === 'function' ? options() : options)?.ttl ?? DEFAULT_TTL);
  const asked = createMemo(() => resolved(query(), zero().context), undefined, {equals: isSameQuery});

  let view: ViewStore<unknown> | undefined;
  let last: {readonly level: Level; readonly snapshot: Snapshot} | undefined;
  const show = (level: Level, [snapshot, newDetails]: readonly [unknown, QueryResultDetails]) => {
    const before = last;
    const after = {level, snapshot: snapshot as Snapshot};
    last = after;
    batch(() => {
      setState(
        produce(draft => {
          if (before !== undefined && isSameShape(before.level, level)) {
            update(level, draft, 'data', before.snapshot, after.snapshot);
          } else {
            replace(level, draft, 'data', after.snapshot);
          }
        }),
      );
      setDetails(() => newDetails);
    });
  };

  createComputed(() => {
    const wanted = asked();
    if (wanted === undefined) {
      view = last = undefined;
      setState('data', undefined);
      setDetails(unknownDetails);
      return;
    }
    const client = zero();
    const {ast, format} = asQueryInternals(wanted);
    const level = levelsOf(client.schema as Schema, ast, format);
    const store: ViewStore<unknown> = client.viewStore(wanted, {ttl: untrack(ttl)});
    view = store;
    onCleanup(store.subscribe(() => show(level, store.getSnapshot())));
    untrack(() => show(level, store.getSnapshot()));
  });
  createEffect(on(ttl, longer => view?.updateTTL(longer), {defer: true}));

  return [() => state.data, details];
}

/** @deprecated Use `useQuery`. */
export const createQuery: typeof useQuery = useQuery;

function resolved(given: AnyQueryOrRequest | Falsy, context: unknown): AnyQuery | undefined {
  return given ? toQuery(given, context) : undefined;
}

function isSameQuery(a: AnyQuery | undefined, b: AnyQuery | undefined): boolean {
  return a === b || (a !== undefined && b !== undefined && asQueryInternals(a).viewKey() === asQueryInternals(b).viewKey());
}
