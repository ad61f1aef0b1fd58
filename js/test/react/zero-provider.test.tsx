// @vitest-environment happy-dom
import {renderToString} from 'react-dom/server';
import {beforeEach, expect, test, vi} from 'vitest';
import {useZero} from '../../src/react/zero-context.js';
import {ZeroProvider as TypedProvider} from '../../src/react/zero-provider.js';
import {schema} from '../schema.js';
import type {FakeZero} from './fake-zero.js';
import {render} from './render.js';

const made = vi.hoisted(() => [] as FakeZero[]);

vi.mock('../../src/zero.js', async () => {
  const {FakeZero} = await import('./fake-zero.js');
  class Zero extends FakeZero {
    constructor(options: object) {
      super(options as never);
      made.push(this);
    }
  }
  return {Zero};
});

beforeEach(() => void made.splice(0));

// The fake has none of the types of the real one.
const ZeroProvider = TypedProvider as unknown as React.FC<{[option: string]: unknown}>;
const options = {schema, userID: 'u1', cacheURL: 'http://localhost:1'};
const open = () => made.filter(zero => !zero.closed);

function Child() {
  const zero = useZero() as unknown as FakeZero;
  return <>{`instance ${made.indexOf(zero)}`}</>;
}

test('makes one instance that stays open, also under StrictMode, and closes it in the end', async () => {
  const {text, unmount} = await render(<ZeroProvider {...options}><Child /></ZeroProvider>);
  expect(open()).toHaveLength(1);
  expect(text()).toBe(`instance ${made.indexOf(open()[0] as FakeZero)}`);
  await unmount();
  expect(open()).toHaveLength(0);
});

test('keeps the instance while the options are the same', async () => {
  const {show} = await render(<ZeroProvider {...options}><Child /></ZeroProvider>);
  const before = made.length;
  await show(<ZeroProvider {...{...options}}><Child /></ZeroProvider>);
  expect(made).toHaveLength(before);
});

test('makes another instance when an option changes', async () => {
  const {show, text} = await render(<ZeroProvider {...options}><Child /></ZeroProvider>);
  const [first] = open();
  await show(<ZeroProvider {...options} userID="u2"><Child /></ZeroProvider>);
  expect(first?.closed).toBe(true);
  expect(open().map(zero => zero.options.userID)).toEqual(['u2']);
  expect(text()).toBe(`instance ${made.indexOf(open()[0] as FakeZero)}`);
});

test('a new token goes to the same instance; a token that comes or goes makes another', async () => {
  const {show} = await render(<ZeroProvider {...options} auth="t1"><Child /></ZeroProvider>);
  const [first] = open();
  expect(first?.options.auth).toBe('t1');
  expect(first?.connected).toEqual([]);
  await show(<ZeroProvider {...options} auth="t2"><Child /></ZeroProvider>);
  expect(open()).toEqual([first]);
  expect(first?.connected).toEqual([{auth: 't2'}]);
  await show(<ZeroProvider {...options}><Child /></ZeroProvider>);
  expect(first?.closed).toBe(true);
  expect(open()).toHaveLength(1);
});

test('init sees each instance', async () => {
  const seen: unknown[] = [];
  const init = (zero: unknown) => void seen.push(zero);
  await render(<ZeroProvider {...options} init={init}><Child /></ZeroProvider>);
  expect(seen).toEqual(made);
});

test('an instance of yours is provided and never closed', async () => {
  const {FakeZero} = await import('./fake-zero.js');
  const mine = new FakeZero();
  const {unmount} = await render(<ZeroProvider zero={mine}><Child /></ZeroProvider>);
  await unmount();
  expect(mine.closed).toBe(false);
  expect(made).toHaveLength(0);
});

test('on a server nothing is made and nothing is shown', () => {
  expect(renderToString(<ZeroProvider {...options}><Child /></ZeroProvider>)).toBe('');
  expect(made).toHaveLength(0);
});
