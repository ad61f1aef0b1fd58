// @vitest-environment happy-dom
import {act, Suspense} from 'react';
import {renderToString} from 'react-dom/server';
import {afterEach, expect, test, vi} from 'vitest';
import {createBuilder, defineQueries, defineQueryWithType} from '../../src/index.js';
import {useConnectionState} from '../../src/react/use-connection-state.js';
import {useQuery, useSuspenseQuery} from '../../src/react/use-query.js';
import {useZero, ZeroContext} from '../../src/react/zero-context.js';
import {schema, type TestSchema} from '../schema.js';
import {FakeZero} from './fake-zero.js';
import {render} from './render.js';

// React says there what a hook does wrong.
const errors = vi.spyOn(console, 'error');
afterEach(() => {
  expect(errors.mock.calls.splice(0)).toEqual([]);
});

const zql = createBuilder(schema);
let runs = 0;
const queries = defineQueries({
  users: defineQueryWithType<TestSchema, {userID: string}>()(({args}: {args: {n: number}}) => {
    runs++;
    return zql.user.limit(args.n);
  }),
});

const provide = (zero: FakeZero, child: React.ReactNode) => <ZeroContext value={zero as never}>{child}</ZeroContext>;
const show = (value: unknown) => <>{JSON.stringify(value) ?? 'undefined'}</>;

function Users({options, n = 5}: {options?: Parameters<typeof useQuery>[1]; n?: number}) {
  return show(useQuery(queries.users({n}), options));
}

test('shows data as it comes, and the state of the answer', async () => {
  const zero = new FakeZero();
  const {text} = await render(provide(zero, <Users />));
  expect(text()).toBe('[[],{"type":"unknown"}]');
  await act(async () => zero.onlyStore.set([{id: 'a'}], {type: 'complete'}));
  expect(text()).toBe('[[{"id":"a"}],{"type":"complete"}]');
});

test('data that is there already shows in the first render', async () => {
  const zero = new FakeZero();
  zero.viewStore(zql.user.limit(5) as never).set([{id: 'a'}]);
  const seen: unknown[] = [];
  function Probe() {
    const [users] = useQuery(zql.user.limit(5));
    seen.push(users.map(user => user.id));
    return null;
  }
  await render(provide(zero, <Probe />));
  expect(seen[0]).toEqual(['a']);
});

test('what is no query is refused', async () => {
  const given: readonly unknown[] = [{}, 'users', {query: zql.user}, queries.users];
  for (const query of given) {
    const Probe = () => show(useQuery(query as never));
    expect(() => renderToString(provide(new FakeZero(), <Probe />))).toThrow(/Not a query|has to be called/);
  }
});

test('equal requests of several components share a view and keep it over renders', async () => {
  const zero = new FakeZero();
  const {show, unmount} = await render(provide(zero, [<Users key="1" />, <Users key="2" />]));
  const store = zero.onlyStore;
  expect(store.listeners.size).toBe(2);
  const before = runs;
  await show(provide(zero, [<Users key="1" />, <Users key="2" />]));
  expect(zero.onlyStore).toBe(store);
  expect(runs).toBe(before);
  await unmount();
  expect(store.listeners.size).toBe(0);
});

test('other arguments are another view, and the old one is left', async () => {
  const zero = new FakeZero();
  const {show} = await render(provide(zero, <Users n={1} />));
  await show(provide(zero, <Users n={2} />));
  expect([...zero.stores.values()].map(store => store.listeners.size)).toEqual([0, 1]);
});

test('no query, or a disabled one, asks for nothing', async () => {
  const zero = new FakeZero();
  function Nothing({id}: {id: string}) {
    const maybe = useQuery(id && zql.user.where('id', id).one());
    const plural = useQuery(queries.users({n: 1}), false);
    const singular = useQuery(zql.user.one(), {enabled: false});
    return show([maybe, plural, singular].map(([data, {type}]) => [data ?? 'undefined', type]));
  }
  const {text} = await render(provide(zero, <Nothing id="" />));
  expect(text()).toBe('[["undefined","unknown"],[[],"unknown"],["undefined","unknown"]]');
  expect(zero.stores.size).toBe(0);
});

test('an answer without change keeps its identity over renders', async () => {
  const zero = new FakeZero();
  const seen = new Set<unknown>();
  function Probe() {
    seen.add(useQuery(queries.users({n: 1})));
    seen.add(useQuery(queries.users({n: 1}), false));
    return null;
  }
  const {show} = await render(provide(zero, <Probe />));
  await show(provide(zero, <Probe />));
  expect(seen.size).toBe(2);
});

test('the ttl reaches the view, also when it changes', async () => {
  const zero = new FakeZero();
  const {show} = await render(provide(zero, <Users />));
  await show(provide(zero, <Users options={{ttl: '10s'}} />));
  expect(new Set(zero.onlyStore.ttls)).toEqual(new Set(['5m', '10s']));
});

function Suspending({until}: {until?: 'partial' | 'complete'}) {
  return show(useSuspenseQuery(queries.users({n: 5}), until && {suspendUntil: until}));
}

test('suspends until there is some data', async () => {
  const zero = new FakeZero();
  const {text} = await render(provide(zero, <Suspense fallback="waiting"><Suspending /></Suspense>));
  expect(text()).toBe('waiting');
  await act(async () => zero.onlyStore.set([{id: 'a'}]));
  expect(text()).toBe('[[{"id":"a"}],{"type":"unknown"}]');
});

test('suspends until the answer is complete, if asked to, also when it is empty', async () => {
  const zero = new FakeZero();
  const {text} = await render(provide(zero, <Suspense fallback="waiting"><Suspending until="complete" /></Suspense>));
  await act(async () => zero.onlyStore.set([{id: 'a'}]));
  expect(text()).toBe('waiting');
  await act(async () => zero.onlyStore.set([], {type: 'complete'}));
  expect(text()).toBe('[[],{"type":"complete"}]');
});

test('suspends again when the answer is lost, and shows the next one', async () => {
  const zero = new FakeZero();
  const {text, show} = await render(provide(zero, <Suspense fallback="waiting"><Suspending until="complete" /></Suspense>));
  await act(async () => zero.onlyStore.set([{id: 'a'}], {type: 'complete'}));
  await act(async () => zero.onlyStore.set([], {type: 'unknown'}));
  await show(provide(zero, <Suspense fallback="waiting"><Suspending until="complete" /></Suspense>));
  expect(text()).toContain('waiting');
  await act(async () => zero.onlyStore.set([{id: 'b'}], {type: 'complete'}));
  expect(text()).toBe('[[{"id":"b"}],{"type":"complete"}]');
});

test('an error ends the wait', async () => {
  const zero = new FakeZero();
  const {text} = await render(provide(zero, <Suspense fallback="waiting"><Suspending /></Suspense>));
  const retry = () => {};
  await act(async () =>
    zero.onlyStore.set([], {type: 'error', error: {type: 'app', message: 'no'}, retry, refetch: retry}),
  );
  expect(text()).toBe('[[],{"type":"error","error":{"type":"app","message":"no"}}]');
});

test('renders on a server', () => {
  const zero = new FakeZero();
  expect(renderToString(provide(zero, <Users />))).toContain('[[],');
});

test('a hook outside of a provider says so', () => {
  function Outside() {
    useZero();
    return null;
  }
  expect(() => renderToString(<Outside />)).toThrow('useZero must be used within a ZeroProvider');
});

test('the state of the connection is shown as it changes', async () => {
  const zero = new FakeZero();
  function State() {
    return <>{useConnectionState().name}</>;
  }
  const {text} = await render(provide(zero, <State />));
  expect(text()).toBe('connecting');
  await act(async () => zero.setState('connected'));
  expect(text()).toBe('connected');
});
