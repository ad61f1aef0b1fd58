/** What components of Solid see of queries; over the real client, in memory, and over one whose views a test fills. */
import {type Accessor, createComputed, createEffect, createRoot, createSignal} from 'solid-js';
import {unwrap} from 'solid-js/store';
import {afterEach, describe, expect, test, vi} from 'vitest';
import {createBuilder, defineMutators, defineMutatorWithType, type TTL, Zero} from '../../src/index.js';
import type {AnyQuery} from '../../src/query/query.js';
import type {QueryResultDetails} from '../../src/query/view-store.js';
import {createZero, useConnectionState, useQuery, useZero, useZeroOnline, ZeroContext} from '../../src/solid/index.js';
import {FakeZero} from '../react/fake-zero.js';
import {schema, type TestSchema} from '../schema.js';

const zql = createBuilder(schema);
const mutators = defineMutators({
  write: defineMutatorWithType<TestSchema>()(async ({tx, args}: {tx: any; args: readonly (readonly [string, string, any])[]}) => {
    for (const [table, op, row] of args) {
      await tx.mutate[table][op](row);
    }
  }),
});

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) {
    await cleanup();
  }
});

/** Runs a component below a provider, until the test ends. */
function run<T>(zero: unknown, component: () => T): T {
  return createRoot(dispose => {
    cleanups.push(dispose);
    let result!: T;
    ZeroContext.Provider({
      value: (() => zero) as never,
      get children() {
        result = component();
        return undefined;
      },
    });
    return result;
  });
}

function start() {
  const zero = createZero<TestSchema, any, unknown>({schema, mutators, userID: 'u1', logLevel: 'error'} as never);
  cleanups.push(() => zero.close());
  const write = async (...writes: (readonly [string, string, object])[]) =>
    expect(await zero.mutate(mutators.write(writes as never) as never).client).toEqual({type: 'success'});
  return {zero, write};
}

const issue = (id: string, more: object = {}) =>
  ['issue', 'upsert', {
    id, title: `issue ${id}`, open: true, kind: 'bug', rank: null, meta: {tags: ['x']}, tags: ['a'], ownerID: 'u1', created: 1, ...more,
  }] as const;

/** Counts how often what is read changes. */
function counted(read: () => unknown): {readonly times: number; readonly last: unknown} {
  const seen = {times: 0, last: undefined as unknown};
  createEffect(() => {
    seen.last = read();
    seen.times++;
  });
  return seen;
}

describe('useQuery over a client', () => {
  test('shows rows as they come, change and go, and sets only what changed', async () => {
    const {zero, write} = start();
    await write(issue('a'), issue('b', {created: 2}));
    const [issues, titles, lengths] = run(zero, () => {
      const [data] = useQuery(() => zql.issue.orderBy('created', 'asc'));
      return [data, counted(() => data()[0]?.title), counted(() => data().length)] as const;
    });
    expect(issues().map(({id}) => id)).toEqual(['a', 'b']);
    const [first, second] = issues();
    const [titlesBefore, lengthsBefore] = [titles.times, lengths.times];

    await write(issue('a', {title: 'renamed'}));
    expect(titles).toMatchObject({times: titlesBefore + 1, last: 'renamed'});
    expect(lengths.times).toBe(lengthsBefore);
    expect(issues()[0]).toBe(first);

    await write(issue('a', {title: 'renamed', created: 3}));
    expect(issues().map(({id}) => id)).toEqual(['b', 'a']);
    expect([issues()[0], issues()[1]]).toEqual([second, first]);
    expect(issues()[1]).toBe(first);

    await write(['issue', 'delete', {id: 'b'}]);
    expect(lengths).toMatchObject({last: 1});
    expect(issues()[0]).toBe(first);
    expect(issues()[0]?.meta).toEqual({tags: ['x']});
    await write(issue('a', {meta: {tags: ['y', 'z']}}));
    expect(issues()[0]?.meta).toEqual({tags: ['y', 'z']});
  });

  test('holds what a view holds, with relationships of every kind', async () => {
    const {zero, write} = start();
    const queries: readonly AnyQuery[] = [
      zql.issue.related('labels').related('owner').related('comments', q => q.related('author')),
      zql.issue.orderBy('title', 'desc').limit(3).related('mainLabel'),
      zql.user.where('id', 'u1').one().related('issues', q => q.orderBy('created', 'desc').limit(2)),
    ];
    const views = queries.map(query => zero.materialize(query));
    const answers = run(zero, () => queries.map(query => useQuery(() => query)[0] as Accessor<unknown>));
    let state = 7;
    const random = (below: number) => (state = (state * 48_271) % 0x7fffffff) % below;
    const ids = ['a', 'b', 'c', 'd'];
    const pick = () => ids[random(ids.length)]!;
    for (let step = 0; step < 120; step++) {
      const rows = [
        issue(pick(), {title: pick(), ownerID: `u${random(3)}`, created: random(3)}),
        ['user', 'upsert', {id: `u${random(3)}`, name: pick()}],
        ['comment', 'upsert', {id: pick(), issueID: pick(), authorID: `u${random(3)}`, body: pick(), created: 1}],
        ['label', 'upsert', {id: pick(), name: pick()}],
        ['issueLabel', 'upsert', {labelID: pick(), issueID: pick()}],
        ['issueLabel', 'delete', {labelID: pick(), issueID: pick()}],
        ['issue', 'delete', {id: pick()}],
        ['user', 'delete', {id: `u${random(3)}`}],
      ] as const;
      await write(rows[random(rows.length)]!);
      expect({step, shown: answers.map(answer => unwrap(answer() as object))}).toEqual({step, shown: views.map(({data}) => data)});
    }
  });

  test('rows that both queries show stay the same objects when the query changes', async () => {
    const {zero, write} = start();
    await write(issue('a'), issue('b', {open: false}));
    const [open, setOpen] = createSignal(true);
    const [data] = run(zero, () => useQuery(() => (open() ? zql.issue.where('open', true) : zql.issue.orderBy('id', 'desc'))));
    expect(data().map(({id}) => id)).toEqual(['a']);
    const [a] = data();
    setOpen(false);
    await vi.waitFor(() => expect(data().map(({id}) => id)).toEqual(['b', 'a']), {timeout: 60_000});
    expect(data()[1]).toBe(a);
    await write(issue('a', {title: 'renamed'}));
    expect(a?.title).toBe('renamed');
  });

  test('all views of one change are told together', async () => {
    const {zero, write} = start();
    const seen = run(zero, () => {
      const [all] = useQuery(() => zql.issue);
      const [one] = useQuery(() => zql.issue.where('id', 'a').one());
      return counted(() => [all().length, one()?.title]);
    });
    await zero.ready;
    const before = seen.times;
    await write(issue('a'));
    expect(seen).toEqual({times: before + 1, last: [1, 'issue a']});
  });
});

describe('useQuery and what a view says', () => {
  const run_ = (component: () => readonly [Accessor<any>, Accessor<QueryResultDetails>], fake = new FakeZero()) => ({
    zero: Object.assign(fake, {schema}),
    answer: run(Object.assign(fake, {schema}), component),
  });

  test('no query, no answer', () => {
    const [query, setQuery] = createSignal<any>(undefined);
    const {zero, answer: [data, details]} = run_(() => useQuery(query));
    expect([data(), details(), zero.stores.size]).toEqual([undefined, {type: 'unknown'}, 0]);
    setQuery(zql.issue.one());
    zero.onlyStore.set({id: 'a', title: 't'}, {type: 'complete'});
    expect([data().id, details()]).toEqual(['a', {type: 'complete'}]);
    expect(zero.onlyStore.listeners.size).toBe(1);
    setQuery(false);
    expect([data(), details(), zero.onlyStore.listeners.size]).toEqual([undefined, {type: 'unknown'}, 0]);
  });

  test('a state that stays as it is is no news', () => {
    const [query, setQuery] = createSignal<any>(undefined);
    const told: unknown[] = [];
    const fake = new FakeZero();
    run_(() => {
      const answer = useQuery(query);
      const online = useZeroOnline();
      createComputed(() => told.push(answer[1]().type));
      createComputed(() => told.push(online()));
      return answer;
    }, fake);
    setQuery(zql.issue);
    fake.setState('disconnected');
    expect(told).toEqual(['unknown', false]);
  });

  test('the same query written anew asks nobody', () => {
    const [n, setN] = createSignal(0);
    const {zero} = run_(() => useQuery(() => (n(), zql.issue.where('id', 'a'))));
    const store = zero.onlyStore;
    setN(1);
    expect(zero.onlyStore).toBe(store);
    expect(store.listeners.size).toBe(1);
  });

  test('an error says why, and can be asked again', () => {
    const {zero, answer: [data, details]} = run_(() => useQuery(() => zql.issue));
    const retry = () => zero.onlyStore.retry();
    zero.onlyStore.set([], Object.freeze({type: 'error', error: {type: 'app', message: 'no'}, retry, refetch: retry} as const));
    const state = details();
    expect([data(), state]).toMatchObject([[], {type: 'error', error: {type: 'app', message: 'no'}}]);
    if (state.type === 'error') {
      state.retry();
    }
    expect(zero.onlyStore.retries).toBe(1);
  });

  test('a longer ttl is told', () => {
    const [ttl, setTTL] = createSignal<TTL>('1m');
    const {zero} = run_(() => useQuery(() => zql.issue, () => ({ttl: ttl()})));
    setTTL('2m');
    expect(zero.onlyStore.ttls).toEqual(['2m']);
  });

  test('the state of the connection is followed', () => {
    const fake = new FakeZero();
    const [state, online] = run(fake, () => [useConnectionState(), useZeroOnline()] as const);
    expect([state().name, online()]).toEqual(['connecting', false]);
    fake.setState('connected');
    expect([state().name, online()]).toEqual(['connected', true]);
  });

  test('there is nothing without a provider', () => {
    createRoot(dispose => {
      expect(() => useZero()).toThrow('useZero must be used within a ZeroProvider');
      dispose();
    });
  });
});

// Types alone.
export function typed(zero: Zero<TestSchema, undefined, unknown>): unknown[] {
  const [issues, details] = useQuery(() => zql.issue.related('owner'), {ttl: '1m'});
  const [maybe] = useQuery(() => (zero.closed ? undefined : zql.issue.one()), () => ({ttl: 'none' as const}));
  const name: string | undefined = issues()[0]?.owner?.name;
  const title: string | undefined = maybe()?.title;
  // @ts-expect-error there may be no query
  maybe().title;
  return [name, title, details().type];
}
