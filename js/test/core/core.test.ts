/** The runtime around the core, with bindings of the test's own: order of effects, faults, listeners. */
import {describe, expect, test, vi} from 'vitest';
import {Core, type CoreHost, type ForHost} from '../../src/core/core.js';
import type {HostEffect} from '../../src/core/effects.js';
import type {ViewListener} from '../../src/core/core.js';

interface Letter {
  readonly words: number[];
  readonly texts: HostEffect[];
}

class FakeRaw {
  static last: FakeRaw;
  readonly notify: () => void;
  readonly reportPanic: (message: string) => void;
  readonly waiting: Letter[] = [];
  readonly calls: string[] = [];
  takes = 0;
  // The operands of a flush.
  answer: number[] = [];
  readonly #words = new Uint32Array(1024);
  #used = 2;
  #texts: HostEffect[] = [];
  onSettle: () => void = () => {};
  #views = 0;

  constructor(_options: string, _entropy: Uint8Array, notify: () => void, reportPanic: (message: string) => void) {
    this.notify = notify;
    this.reportPanic = reportPanic;
    FakeRaw.last = this;
  }

  layout() {
    return '[{"name":"t","columns":[{"name":"id","type":"string"}],"primaryKey":["id"]}]';
  }
  memory() {
    return {buffer: this.#words.buffer};
  }
  take() {
    this.takes++;
    const words = this.waiting.flatMap(letter => letter.words);
    this.#texts = this.waiting.splice(0).flatMap(letter => letter.texts);
    const more = (this.#texts.length > 0 ? 1 : 0) + (this.outward.length > 0 ? 2 : 0);
    return words.length === 0 ? 0 : this.put([words.length + 1, more, ...words]);
  }
  free() {
    this.calls.push('freed');
  }
  start() {}
  mutate() {
    return 1;
  }
  connect() {}
  set_traceparent(trace: string | undefined) {
    this.calls.push(`trace ${trace}`);
  }
  /** What waits to go out. */
  readonly outward: string[] = [];
  carry_outward() {
    this.calls.push(...this.outward.splice(0));
    return this.waiting.length > 0;
  }
  texts() {
    return JSON.stringify(this.#texts);
  }
  /** Writes words somewhere; gives their address. */
  put(words: readonly number[]): number {
    const at = this.#used;
    this.#words.set(words, at);
    this.#used += words.length + (words.length & 1);
    return at * 4;
  }
  view() {
    return ++this.#views;
  }
  drop_view(id: number) {
    this.calls.push(`drop ${id}`);
  }
  run() {
    return this.put(this.answer);
  }
  settle() {
    this.onSettle();
  }

  give(...effects: HostEffect[]) {
    this.waiting.push({words: effects.map(() => 6), texts: effects});
  }
  /** A row of one column that is null, and the operations that show it. */
  giveFlush(handle: number, operations: number[], releases: number[] = []) {
    const batch = [1, 0, 0, 0, 0, 1, 1, 0, handle, 0, 0, 0];
    this.waiting.push({words: [0, ...this.flush(batch, operations, releases)], texts: []});
  }
  flush(batch: number[], operations: number[], releases: number[]): number[] {
    return [this.put(batch), batch.length, 0, 0, this.put(operations), operations.length, this.put(releases), releases.length];
  }
}

function start(host: Partial<CoreHost> = {}): {core: Core; raw: FakeRaw; effects: string[]; host: CoreHost} {
  const effects: string[] = [];
  const full: CoreHost = {
    effect: (effect: ForHost) => void effects.push(effect.type === 'log' ? effect.message : effect.type),
    fault: vi.fn(),
    batch: notify => notify(),
    listenerError: vi.fn(),
    ...host,
  };
  const core = new Core({Core: FakeRaw} as never, '{}', new Uint8Array(32), full);
  core.start();
  return {core, raw: FakeRaw.last, effects, host: full};
}

function listener(more: Partial<ViewListener> = {}): ViewListener {
  return {publish: () => {}, notify: () => {}, ...more};
}

const request = {astJSON: '{"table":"t"}', shape: {singular: false, relationships: []}, source: {type: 'local'}, ttlMs: 0} as const;
const log = (message: string): HostEffect => ({type: 'log', level: 'info', message});

test('what is asked for belongs to the trace that the application is in then', () => {
  const traces = ['start', 'view', undefined, 'connect'];
  const {core, raw} = start({traceparent: () => traces.shift()});
  core.openView(request, listener());
  core.mutate('m', '[]', () => {});
  core.connect(undefined);
  expect(raw.calls.filter(call => call.startsWith('trace'))).toEqual(['trace start', 'trace view', 'trace undefined', 'trace connect']);
});

describe('effects', () => {
  test('what goes out waits until the page has been shown a change', async () => {
    const {core, raw} = start();
    const view = core.openView(request, listener({
      notify: () => {
        raw.calls.push('shown');
        queueMicrotask(() => raw.calls.push('rendered'));
      },
    }));
    raw.onSettle = () => {
      raw.outward.push('stored', 'sent');
      raw.giveFlush(0, [1, 1, 2, 1, 0]);
    };
    core.settle(1, undefined);
    expect(raw.calls).toEqual(['shown']);
    await Promise.resolve();
    await Promise.resolve();
    expect(raw.calls).toEqual(['shown', 'rendered', 'stored', 'sent']);
    view.drop();
  });

  test('nothing goes out of a client that is gone', async () => {
    const {core, raw} = start();
    raw.outward.push('stored');
    raw.give(log('last'));
    core.settle(1, undefined);
    core.free();
    await Promise.resolve();
    expect(raw.calls).toEqual(['freed']);
  });

  test('are delivered in order, what a handler brings about comes last', () => {
    const seen: string[] = [];
    const {core, raw} = start({
      effect: effect => {
        seen.push(effect.type === 'log' ? effect.message : effect.type);
        if (seen.length === 1) {
          raw.give(log('nested'));
          core.settle(1, undefined);
        }
      },
    });
    raw.give(log('one'), log('two'));
    raw.notify();
    expect(seen).toEqual(['one', 'two', 'nested']);
  });
});

describe('effects that are numbers', () => {
  test('come in their place among the texts', () => {
    const seen: ForHost[] = [];
    const {raw} = start({effect: effect => void seen.push(effect)});
    raw.waiting.push({words: [1, 7, 3, 0, 5, 1, 6, 2, 3, 3, 3, 4, 3, 5, 1, 8, 3, 1, 6, 0], texts: [log('between')]});
    raw.notify();
    expect(seen).toEqual([
      {type: 'runCall', tx: 7, call: 3, reason: 'optimistic', mutationID: 2 ** 32 + 5},
      log('between'),
      {type: 'callRan', call: 3},
      {type: 'callStored', call: 3},
      {type: 'callConfirmed', call: 3},
      {type: 'mutationsChanged'},
      {type: 'runCall', tx: 8, call: 3, reason: 'rebase', mutationID: 6},
    ]);
  });

  test.each([
    ['an unknown code', [9]],
    ['a text that is not there', [6]],
  ])('with %s are a fault', async (_, words) => {
    const {raw, host} = start();
    raw.waiting.push({words, texts: []});
    raw.notify();
    await Promise.resolve();
    expect(host.fault).toHaveBeenCalledOnce();
  });
});

describe('a flush', () => {
  test('is published to all views before any listener is called, in one batch', () => {
    const order: string[] = [];
    const {core, raw} = start({
      batch: notify => {
        order.push('batch');
        notify();
      },
    });
    for (const name of ['a', 'b']) {
      core.openView(request, listener({
        publish: data => order.push(`publish ${name} ${(data as unknown[]).length}`),
        notify: () => order.push(`notify ${name}`),
      }));
    }
    raw.giveFlush(0, [1, 1, 2, 1, 0, 1, 2, 2, 1, 0]);
    raw.notify();
    expect(order).toEqual(['publish a 1', 'publish b 1', 'batch', 'notify a', 'notify b']);
  });

  test('reaches the other listeners when one throws', () => {
    const {core, raw, host} = start();
    const heard = vi.fn();
    core.openView(request, listener({notify: () => {
      throw new Error('a listener of the application');
    }}));
    core.openView(request, listener({notify: heard}));
    raw.giveFlush(0, [1, 1, 2, 1, 0, 1, 2, 2, 1, 0]);
    raw.notify();
    expect(heard).toHaveBeenCalledOnce();
    expect(host.listenerError).toHaveBeenCalledOnce();
    expect(host.fault).not.toHaveBeenCalled();
  });

  test.for(['before it calls the listeners', 'after it'])('reaches all listeners once when the batch throws %s', when => {
    const error = new Error('rendering failed');
    const {core, raw, host} = start({
      batch: notify => {
        if (when === 'after it') {
          notify();
        }
        throw error;
      },
    });
    const heard = vi.fn();
    core.openView(request, listener({notify: heard}));
    raw.giveFlush(0, [2, 1, 0, 0, 0]);
    raw.notify();
    expect(heard).toHaveBeenCalledOnce();
    expect(host.listenerError).toHaveBeenCalledExactlyOnceWith(error);
    expect(host.fault).not.toHaveBeenCalled();
  });

  test('shows what failed, and why', () => {
    const {core, raw} = start();
    const publish = vi.fn();
    core.openView(request, listener({publish}));
    raw.give({type: 'queryFailed', views: [1], kind: 'app', name: 'q', message: 'no', detailsJSON: '{"a":1}'});
    raw.giveFlush(0, [6, 1, 2]);
    raw.notify();
    expect(publish).toHaveBeenCalledWith([], 'error', {type: 'app', message: 'no', details: {a: 1}});
  });

  test('is applied before a query is asked, and shown afterwards', () => {
    const {core, raw} = start();
    const publish = vi.fn();
    core.openView(request, listener({publish}));
    raw.giveFlush(0, [1, 1, 2, 1, 0]);
    raw.answer = raw.flush([], [1, 0, 2, 1, 0], [0]);
    expect(core.query(request.astJSON, request.shape)).toEqual([{id: null}]);
    expect(publish).not.toHaveBeenCalled();
    raw.notify();
    expect(publish).toHaveBeenCalledWith([{id: null}], 'unknown', undefined);
  });

  test.each([
    ['is taken once', 0x4000, 1],
    ['that is large is taken again, so that it is freed', 0x4001, 2],
  ])('%s', (_, words, takes) => {
    const {raw} = start();
    raw.takes = 0;
    raw.waiting.push({words: [0, 0, words, 0, 0, 0, 0, 0, 0], texts: []});
    raw.notify();
    expect(raw.takes).toBe(takes);
  });

  test('whose rows do not have the form of the query is an error of that view alone', () => {
    const {core, raw, host} = start();
    const [publish, other] = [vi.fn(), vi.fn()];
    core.openView({...request, shape: {...request.shape, singular: true}}, listener({publish}));
    core.openView(request, listener({publish: other}));
    raw.giveFlush(0, [1, 1, 2, 1, 0]);
    raw.notify();
    raw.giveFlush(1, [2, 1, 0, 1, 1, 1, 2, 2, 1, 1]);
    raw.notify();
    const message = expect.stringContaining('should not have multiple rows') as string;
    expect(publish).toHaveBeenLastCalledWith({id: null}, 'error', {type: 'app', message});
    expect(other).toHaveBeenLastCalledWith([{id: null}], 'unknown', undefined);
    expect(host.fault).not.toHaveBeenCalled();
    raw.giveFlush(2, [3, 1, 0, 0]);
    raw.notify();
    expect(publish).toHaveBeenLastCalledWith({id: null}, 'unknown', undefined);
  });

  test('may still name a view that a listener has dropped meanwhile', () => {
    const {core, raw, host} = start();
    const view = core.openView(request, listener({notify: () => view.drop()}));
    raw.giveFlush(0, [1, 1, 2, 1, 0]);
    raw.giveFlush(1, [2, 1, 0, 0, 1]);
    raw.notify();
    expect(raw.calls).toEqual(['drop 1']);
    expect(host.fault).not.toHaveBeenCalled();
  });

  test.each([
    ['a row that was never sent', [1, 1, 2, 1, 77]],
    ['a view that is not open', [6, 9, 1]],
  ])('that names %s is a fault', async (_, operations) => {
    const {core, raw, host} = start();
    core.openView(request, listener());
    raw.giveFlush(0, operations);
    raw.notify();
    await Promise.resolve();
    expect(host.fault).toHaveBeenCalledOnce();
    expect(() => core.settle(1, undefined)).toThrow('fault of its own');
  });
});

describe('a panic', () => {
  test('in a call is thrown with its message, reported once, and ends the core', async () => {
    const {core, raw, host, effects} = start();
    raw.onSettle = () => {
      raw.reportPanic('panicked at pokes.rs: boom');
      throw new WebAssembly.RuntimeError('unreachable');
    };
    expect(() => core.settle(1, undefined)).toThrow('boom');
    expect(() => core.settle(1, undefined)).toThrow('boom');
    raw.give(log('late'));
    raw.notify();
    await Promise.resolve();
    expect(effects).toEqual([]);
    expect(host.fault).toHaveBeenCalledOnce();
  });

  test('in an event of the browser ends the core just so', async () => {
    const {core, raw, host} = start();
    raw.reportPanic('panicked at pokes.rs: boom');
    // Not while WebAssembly may be on the stack.
    expect(host.fault).not.toHaveBeenCalled();
    await Promise.resolve();
    expect(host.fault).toHaveBeenCalledOnce();
    expect(() => core.openView(request, listener())).toThrow('boom');
  });

  test('without a report is a trap, and ends the core as well', async () => {
    const {core, raw, host} = start();
    raw.onSettle = () => {
      throw new WebAssembly.RuntimeError('memory access out of bounds');
    };
    expect(() => core.settle(1, undefined)).toThrow('memory access out of bounds');
    await Promise.resolve();
    expect(host.fault).toHaveBeenCalledOnce();
  });
});

test('an error that the core throws has its code', () => {
  const {core, raw} = start();
  raw.onSettle = () => {
    throw Object.assign(new Error('unknown table "x"'), {name: 'unknown-table'});
  };
  expect(() => core.settle(1, undefined)).toThrow(expect.objectContaining({code: 'write', message: 'unknown table "x"'}));
});
