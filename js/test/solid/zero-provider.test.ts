import {type Accessor, createRoot, createSignal} from 'solid-js';
import {afterEach, beforeEach, expect, test, vi} from 'vitest';
import {createZero, useZero, ZeroProvider} from '../../src/solid/index.js';
import {FakeZero} from '../react/fake-zero.js';
import {schema} from '../schema.js';

const made = vi.hoisted(() => [] as FakeZero[]);

vi.mock('../../src/zero.js', async () => {
  const fake = await import('../react/fake-zero.js');
  class Zero extends fake.FakeZero {
    constructor(options: object) {
      super(options as never);
      made.push(this);
    }
  }
  return {Zero};
});

beforeEach(() => void made.splice(0));
const disposals: (() => void)[] = [];
afterEach(() => disposals.splice(0).forEach(dispose => dispose()));

/** A provider with these properties; what is read through getters is followed. */
function provide(props: object): {readonly zero: Accessor<FakeZero>; readonly dispose: () => void} {
  return createRoot(dispose => {
    disposals.push(dispose);
    let zero!: Accessor<FakeZero>;
    const children = () => {
      zero = useZero() as never;
      return undefined;
    };
    // As a compiler of JSX gives children: read inside the provider.
    ZeroProvider(Object.defineProperty(props, 'children', {get: children, enumerable: true}) as never);
    return {zero, dispose};
  });
}

const options = () => ({schema, userID: 'u1', cacheURL: 'http://localhost:1'});

test('makes an instance with changes that are shown together, tells of it, and closes it in the end', () => {
  const init = vi.fn();
  const {zero, dispose} = provide({...options(), init});
  expect(made).toEqual([zero()]);
  expect(made[0]?.options).toMatchObject({userID: 'u1', cacheURL: 'http://localhost:1', batchViewUpdates: expect.any(Function)});
  expect(init.mock.calls).toEqual([[made[0]]]);
  dispose();
  expect(made[0]?.closed).toBe(true);
});

test('makes another instance when an option changes', () => {
  const [userID, setUserID] = createSignal('u1');
  const props = Object.defineProperty({...options()}, 'userID', {get: userID, enumerable: true});
  const {zero} = provide(props);
  setUserID('u2');
  expect(made.map(it => [it.options['userID'], it.closed])).toEqual([['u1', true], ['u2', false]]);
  expect(zero()).toBe(made[1]);
});

test('a new token goes to the same instance; a token that comes or goes makes another', async () => {
  const [auth, setAuth] = createSignal<string | undefined>('t1');
  provide(Object.defineProperty({...options()}, 'auth', {get: auth, enumerable: true}));
  expect(made[0]?.options['auth']).toBe('t1');
  setAuth('t2');
  expect(made).toHaveLength(1);
  expect(made[0]?.connected).toEqual([{auth: 't2'}]);
  setAuth(undefined);
  expect(made.map(({closed}) => closed)).toEqual([true, false]);
  setAuth('t3');
  expect(made.map(({closed, options: {auth: given}}) => [closed, given])).toEqual([[true, 't1'], [true, undefined], [false, 't3']]);
  expect(made[2]?.connected).toEqual([]);
});

test('hands out an instance that it is given, and never closes it', () => {
  const given = new FakeZero();
  const {zero, dispose} = provide({zero: given});
  expect(zero()).toBe(given);
  expect(made).toEqual([]);
  dispose();
  expect(given.closed).toBe(false);
});

test('createZero makes one that its maker closes', () => {
  createZero(options() as never);
  expect(made[0]?.options['batchViewUpdates']).toEqual(expect.any(Function));
});
