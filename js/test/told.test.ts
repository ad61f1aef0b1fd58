/** What a developer is told who looks at the console only. */
import {afterEach, beforeEach, describe, expect, test, vi} from 'vitest';
import {createBuilder, defineMutators, defineMutatorWithType, defineQueries, defineQuery, dropAllDatabases, dropDatabase, Zero} from '../src/index.js';
import {reasonOfReload, reloadPage} from '../src/reload.js';
import {schema, type TestSchema} from './schema.js';

const defineMutator = defineMutatorWithType<TestSchema>();
const notToday = new Error('not today');
const mutators = defineMutators({
  issue: {
    fail: defineMutator(async () => {
      throw notToday;
    }),
  },
});

function told(): {readonly lines: string[]; readonly logSink: {log(...args: unknown[]): void}} {
  const lines: string[] = [];
  return {lines, logSink: {log: (level, _context, ...args) => void lines.push(`${level}: ${args.join(' ')}`)}};
}

afterEach(() => {
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

test('a mutator that throws, with the error itself', async () => {
  const log = vi.fn();
  const zero = new Zero({schema, mutators, logSink: {log}});
  const result = await zero.mutate(mutators.issue.fail()).client;
  expect(log).toHaveBeenCalledWith('warn', undefined, 'The mutation issue.fail failed in the page: not today', notToday);
  expect(result).toEqual({type: 'error', error: {type: 'app', message: 'not today'}});
  await zero.close();
});

/** Never opens. */
class SilentSocket extends EventTarget {
  close(): void {}
}

test('a query without a name that is shown, once for its table, and only if there is a server', async () => {
  vi.stubGlobal('WebSocket', SilentSocket);
  const zql = createBuilder(schema);
  const queries = defineQueries({issues: defineQuery(() => zql.issue)});
  const unnamed = (lines: readonly string[]) => lines.filter(line => line.includes('has no name'));

  const {lines, logSink} = told();
  const zero = new Zero({schema, logSink, cacheURL: 'http://localhost:4848', kvStore: 'mem'});
  await zero.run(zql.issue);
  zero.preload(zql.issue);
  zero.materialize(queries.issues());
  await new Promise(resolve => setTimeout(resolve));
  expect(unnamed(lines)).toEqual([]);
  zero.materialize(zql.issue);
  zero.viewStore(zql.issue.where('open', true));
  zero.materialize(zql.user);
  await vi.waitFor(() => expect(unnamed(lines)).toHaveLength(2));
  expect(unnamed(lines)[0]).toMatch(/^warn: The query of table issue has no name.* defineQuery\.$/);
  expect(unnamed(lines)[1]).toContain('of table user');
  await zero.close();

  const alone = told();
  const local = new Zero({schema, logSink: alone.logSink});
  await local.ready;
  local.materialize(zql.issue);
  await new Promise(resolve => setTimeout(resolve, 10));
  expect(unnamed(alone.lines)).toEqual([]);
  await local.close();
});

test('what is missing where there is no WebSocket', () => {
  vi.stubGlobal('WebSocket', undefined);
  const {lines, logSink} = told();
  const zero = new Zero({schema, logSink, cacheURL: 'http://localhost:4848', kvStore: 'mem'});
  expect(lines).toEqual([expect.stringMatching(/^warn: There is no WebSocket here.*Node 22.*globalThis\.WebSocket/)]);
  return zero.close();
});

test('databases cannot be deleted where there are none', async () => {
  const expected = {name: 'LandfallError', code: 'storage', message: expect.stringContaining('no IndexedDB')};
  await expect(dropDatabase('x')).rejects.toMatchObject(expected);
  await expect(dropAllDatabases()).rejects.toMatchObject(expected);
});

test('a page in place of the module', async () => {
  const {lines, logSink} = told();
  const zero = new Zero({schema, logSink, wasm: new TextEncoder().encode('<!doctype html><title>An app</title>')});
  await expect(zero.ready).rejects.toThrow('what is there is something else');
  expect(lines.filter(line => line.startsWith('error: The WebAssembly module could not be loaded'))).toHaveLength(1);
});

describe('a log sink that throws', () => {
  const full = new Error('the sink is full');
  let thrown: unknown[];
  beforeEach(() => {
    thrown = [];
    const queue = globalThis.queueMicrotask;
    vi.stubGlobal('queueMicrotask', (callback: () => void) => queue(() => {
      try {
        callback();
      } catch (error) {
        thrown.push(error);
      }
    }));
  });
  const logSink = {
    log: () => {
      throw full;
    },
  };

  test('does not end the client', async () => {
    const zero = new Zero({schema, mutators, logSink});
    const {error} = (await zero.mutate(mutators.issue.fail()).client) as {error?: {message: string}};
    expect(error?.message).toBe('not today');
    expect(zero.closed).toBe(false);
    expect(thrown).toContain(full);
    await zero.close();
  });

  test('does not keep a client from ending that cannot run', async () => {
    const zero = new Zero({schema, mutators, logSink, wasm: new Uint8Array(8)});
    const asked = zero.mutate(mutators.issue.fail());
    await expect(zero.ready).rejects.toThrow();
    expect(zero.closed).toBe(true);
    expect((await asked.server).type).toBe('error');
    await zero.close();
  });
});

test('why the page was reloaded, once', () => {
  vi.useFakeTimers();
  const stored = new Map<string, string>();
  vi.stubGlobal('sessionStorage', {
    getItem: (key: string) => stored.get(key) ?? null,
    setItem: (key: string, value: string) => void stored.set(key, value),
    removeItem: (key: string) => void stored.delete(key),
  });
  const reload = vi.fn();
  vi.stubGlobal('location', {reload});
  reloadPage('the table "nowhere" does not exist');
  expect(reload).not.toHaveBeenCalled();
  vi.runAllTimers();
  expect(reload).toHaveBeenCalledOnce();
  expect(reasonOfReload()).toBe('the table "nowhere" does not exist');
  expect(reasonOfReload()).toBeUndefined();
});

test('nowhere to remember why', () => {
  expect(reasonOfReload()).toBeUndefined();
});
