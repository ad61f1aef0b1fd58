/** A database that is opened before anybody wants it: who closes it, and when. */
import {afterEach, beforeEach, describe, expect, test, vi} from 'vitest';
import {openEarly} from '../../src/core/early-database.js';

const close = vi.fn();
let request: any;
let opened: string[];

beforeEach(() => {
  opened = [];
  request = {result: {close}, transaction: {abort: vi.fn()}};
  vi.stubGlobal('indexedDB', {open: (name: string) => (opened.push(name), request)});
});
afterEach(() => {
  vi.unstubAllGlobals();
  vi.clearAllMocks();
});

const begun = async (names: Promise<string[]> = Promise.resolve(['a', 'b'])) => {
  const take = openEarly('a', names);
  await Promise.allSettled([names]);
  return take;
};

describe('a database that is opened early', () => {
  test('is given to whoever takes it, once', async () => {
    const take = await begun();
    expect(opened).toEqual(['a']);
    request.onsuccess();
    expect(take()).toBe(request.result);
    expect(take()).toBeUndefined();
    expect(close).not.toHaveBeenCalled();
  });

  test('is closed if it comes too late', async () => {
    const take = await begun();
    expect(take()).toBeUndefined();
    request.onsuccess();
    expect(close).toHaveBeenCalledOnce();
  });

  test.for(['onversionchange', 'onclose'])('is not given any more after %s', async event => {
    const take = await begun();
    request.onsuccess();
    request.result[event]();
    expect(close).toHaveBeenCalledOnce();
    expect(take()).toBeUndefined();
  });

  test('is not made', async () => {
    await begun();
    request.onupgradeneeded();
    expect(request.transaction.abort).toHaveBeenCalledOnce();
  });

  test.for([
    ['it is not there', () => Promise.resolve(['b'])],
    ['nobody knows whether it is there', () => Promise.reject(new Error('no list'))],
  ] as const)('is not asked for if %s', async ([, names]) => {
    const take = await begun(names());
    expect(opened).toEqual([]);
    expect(take()).toBeUndefined();
  });

  test('is not asked for when it is too late', async () => {
    const names = Promise.resolve(['a']);
    const take = openEarly('a', names);
    expect(take()).toBeUndefined();
    await names;
    expect(opened).toEqual([]);
  });
});
