/** Deleting databases that other pages have open. */
import {afterEach, beforeEach, expect, test, vi} from 'vitest';
import {dropAllDatabases, dropDatabase} from '../src/drop-database.js';

interface Request {
  onsuccess?: () => void;
  onblocked?: () => void;
}
let request: Request;
beforeEach(() => {
  vi.useFakeTimers();
  request = {};
  vi.stubGlobal('indexedDB', {deleteDatabase: () => request});
});
afterEach(() => {
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

test('a database that is let go of is deleted, and no timer stays', async () => {
  const dropped = dropDatabase('a');
  request.onsuccess?.();
  await dropped;
  expect(vi.getTimerCount()).toBe(0);
});

test('clients in memory have no databases, and those in IndexedDB keep theirs', async () => {
  vi.stubGlobal('indexedDB', {deleteDatabase: () => expect.unreachable(), databases: () => expect.unreachable()});
  await dropDatabase('a', {kvStore: 'mem'});
  expect(await dropAllDatabases({kvStore: 'mem', logLevel: 'error'})).toEqual({dropped: [], errors: []});
});

test.for([
  ['stands still', 'A page that has it open does not answer', () => {}],
  ['keeps it open', 'A page that has it open does not let go of it', () => request.onblocked?.()],
] as const)('whoever deletes a database does not wait for ever for a page that %s', async ([, why, happens]) => {
  const dropped = dropDatabase('a');
  const refused = expect(dropped).rejects.toThrow(`The database a is not deleted yet. ${why}`);
  happens();
  await vi.advanceTimersByTimeAsync(10_000);
  await refused;
});
