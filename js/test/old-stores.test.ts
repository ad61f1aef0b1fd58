/** What becomes of the stores of earlier schemas when the server does not take what waits there. */
import {afterEach, beforeEach, expect, test, vi} from 'vitest';
import type {ForHost} from '../src/core/core.js';
import {OldStores} from '../src/old-stores.js';

const started = vi.hoisted(() => [] as ((effect: ForHost) => void)[]);
const waiting = vi.hoisted(() => [] as unknown[]);
vi.mock('../src/core/load.js', () => ({loadBindings: async () => ({})}));
vi.mock('../src/core/core.js', () => ({
  Core: class {
    readonly #effect: (effect: ForHost) => void;
    constructor(_bindings: unknown, _options: string, _seed: unknown, host: {effect: (effect: ForHost) => void}) {
      this.#effect = host.effect;
    }
    start(): void {
      started.push(this.#effect);
    }
    mutations(): unknown[] {
      return waiting;
    }
    close(): void {}
    free(): void {}
  },
}));

beforeEach(() => {
  vi.useFakeTimers();
  waiting.push({id: 1});
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
  waiting.length = 0;
  started.length = 0;
});

async function draining(): Promise<{stores: OldStores; log: string[]; isOver: () => boolean; told: (effect: ForHost) => Promise<void>}> {
  const log: string[] = [];
  const stores = new OldStores({
    wasm: undefined, coreOptions: () => '{}', log: message => void log.push(message), changed: () => {}, closed: false,
  });
  let over = false;
  void stores.drain(['old']).then(() => (over = true));
  await vi.advanceTimersByTimeAsync(0);
  const told = async (effect: ForHost): Promise<void> => {
    started[0]!(effect);
    await vi.advanceTimersByTimeAsync(0);
  };
  return {stores, log, isOver: () => over, told};
}

test('a page does not wait for writes that the server refuses for their schema, and says so once', async () => {
  const {stores, log, isOver, told} = await draining();
  await told({type: 'connection', state: {name: 'connecting'}});
  expect(isOver()).toBe(false);
  const message = 'SchemaVersionNotSupported: the table "t" has no column "c"';
  await told({type: 'connection', state: {name: 'error', reason: message}});
  await told({type: 'updateNeeded', reason: 'SchemaVersionNotSupported', message});
  expect(isOver()).toBe(true);
  expect(log).toHaveLength(1);
  expect(log[0]).toContain(message);
  expect(stores.mutations()).toHaveLength(1);
});

test('a page does not wait for writes that need another token', async () => {
  const {log, isOver, told} = await draining();
  await told({type: 'connection', state: {name: 'needs-auth', reason: {type: 'zero-cache', reason: 'expired'}}});
  expect(isOver()).toBe(true);
  expect(log).toEqual([]);
});

test('a page waits a while for a server that does not answer', async () => {
  const {isOver, told} = await draining();
  await told({type: 'connection', state: {name: 'disconnected', reason: 'offline'}});
  await vi.advanceTimersByTimeAsync(9_000);
  expect(isOver()).toBe(false);
  await vi.advanceTimersByTimeAsync(2_000);
  expect(isOver()).toBe(true);
});

for (const [is, isDropped, problem] of [['could be read', true], ['could not be read', false, {type: 'storageProblem', kind: 'unavailable', message: 'no'}]] as const) {
  test(`a store that is empty goes when the new one has rows, if it ${is}`, async () => {
    const dropped: string[] = [];
    vi.stubGlobal('navigator', {locks: {query: async () => ({held: []})}});
    vi.stubGlobal('indexedDB', {deleteDatabase: (name: string) => (dropped.push(name), {})});
    waiting.length = 0;
    const {stores, told} = await draining();
    if (problem !== undefined) await told(problem as ForHost);
    await told({type: 'drained'});
    await told({type: 'closed'});
    stores.unneeded();
    await vi.advanceTimersByTimeAsync(1_000);
    expect(dropped).toEqual(isDropped ? ['old'] : []);
  });
}
