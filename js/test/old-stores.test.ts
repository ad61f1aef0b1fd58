/** What becomes of the stores of earlier schemas when the server does not take what waits there. */
import {afterEach, beforeEach, expect, test, vi} from 'vitest';
import type {ForHost} from '../src/core/core.js';
import {OldStores} from '../src/old-stores.js';

const started = vi.hoisted(() => [] as ((effect: ForHost) => void)[]);
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
      return [{id: 1}];
    }
    close(): void {}
  },
}));

beforeEach(() => void vi.useFakeTimers());
afterEach(() => {
  vi.useRealTimers();
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
