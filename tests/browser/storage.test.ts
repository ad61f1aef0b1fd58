// Storage that fails in a real browser: what the application is told, and that its writes arrive all the same.
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Page } from 'playwright-core';
import { modes } from './modes.ts';
import { Stage } from './stage.ts';
import { Chromium, until } from './world.ts';

const stage = new Stage(modes.embedded);
let chromium: Chromium;
beforeEach(async () => { chromium = await new Chromium().start(); });
afterEach(async () => {
  await chromium.close();
  // One test that failed is enough.
  await stage.mode.server.start();
});

async function open(before?: (page: Page) => Promise<void>): Promise<Page> {
  const page = await chromium.page('about:blank');
  await before?.(page);
  await page.goto(stage.url());
  await page.waitForFunction(() => 'app' in window);
  await page.waitForSelector('main[data-state=complete]', { state: 'attached' });
  return page;
}

/** Whether the write was stored. */
const write = (page: Page, id: string, title = id) => page.evaluate(async ({ id, title }) => {
  const { zero, mutators } = window.app;
  const { type } = await zero.mutate(mutators.task.create({ id, title, rank: 1 })).durable;
  return type === 'success';
}, { id, title });

const told = (page: Page, kind: string) => until(`${kind} is told`, async () => {
  const problems = await page.evaluate(() => window.app.problems);
  return problems.includes(kind);
});
const arrives = (id: string) => until(`${id} arrives`, async () => (await stage.mode.tasks()).some(task => task.id === id));

/** How many records and pages are stored; one bit of each is changed if `damaged`. */
const given = (page: Page, damaged: boolean) => page.evaluate(async damaged => {
  const asked = <T>(request: IDBRequest<T>) => new Promise<T>((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  const database = await asked(indexedDB.open(window.app.zero.idbName));
  let count = 0;
  for (const name of ['log', 'pages']) {
    const store = database.transaction(name, 'readwrite').objectStore(name);
    const keys = await asked(store.getAllKeys());
    for (const [place, value] of (await asked(store.getAll()) as Uint8Array[]).entries()) {
      value[value.length >> 1]! ^= 4;
      if (damaged) await asked(store.put(value, keys[place]));
      count += 1;
    }
  }
  database.close();
  return count;
}, damaged);

test('storage that the browser empties is filled again', async () => {
  const page = await open();
  expect(await write(page, 'evicted-1')).toBe(true);
  await page.evaluate(() => new Promise((resolve, reject) => {
    const request = indexedDB.open(window.app.zero.idbName);
    request.onerror = () => reject(request.error);
    request.onsuccess = () => {
      const database = request.result;
      const emptying = database.transaction(database.objectStoreNames, 'readwrite');
      for (const name of database.objectStoreNames) emptying.objectStore(name).clear();
      emptying.oncomplete = resolve;
      emptying.onabort = () => reject(emptying.error);
      database.close();
    };
  }));
  await write(page, 'evicted-2');
  await told(page, 'evicted');
  await arrives('evicted-2');
  await until('writes are stored again', () => write(page, `evicted-${Math.random()}`));
  expect(await stage.mode.tasks()).toEqual(expect.arrayContaining([expect.objectContaining({ id: 'evicted-1' })]));
});

test('a damaged value is noticed, the rows come again, and waiting writes are kept', async () => {
  const first = await open();
  await write(first, 'damaged-1');
  await arrives('damaged-1');
  await until('what the server gave is stored', async () => await given(first, false) > 0);
  await stage.mode.server.kill();
  expect(await write(first, 'damaged-2')).toBe(true);
  // One bit of everything that the server has given.
  expect(await given(first, true)).toBeGreaterThan(0);
  await first.close();
  await stage.mode.server.start();
  const second = await open();
  await told(second, 'damaged');
  await arrives('damaged-2');
  for (const id of ['damaged-1', 'damaged-2']) await second.waitForSelector(`#${id}`);
}, 120_000);

test('a database that is deleted while the module is on its way is let go of, and made again', async () => {
  const first = await open();
  expect(await write(first, 'early-1')).toBe(true);
  await arrives('early-1');
  const name = await first.evaluate(() => window.app.zero.idbName);
  await first.close();
  let release = () => {};
  const held = new Promise<void>(resolve => { release = resolve; });
  const page = await chromium.page('about:blank');
  await page.addInitScript(() => {
    const { open } = IDBFactory.prototype;
    IDBFactory.prototype.open = function (...args) {
      const request = open.apply(this, args);
      request.addEventListener('success', () => { window.hasOpened = true; });
      return request;
    };
  });
  await page.route('**/*.wasm', async route => {
    await held;
    await route.continue();
  });
  await page.goto(stage.url());
  await page.waitForFunction(() => window.hasOpened);
  await page.evaluate(name => new Promise((resolve, reject) => {
    const request = indexedDB.deleteDatabase(name);
    request.onsuccess = resolve;
    request.onerror = () => reject(request.error);
  }), name);
  release();
  await page.waitForSelector('main[data-state=complete]', { state: 'attached' });
  await page.waitForSelector('#early-1');
  expect(await write(page, 'early-2')).toBe(true);
  await arrives('early-2');
  expect(await page.evaluate(() => window.app.problems)).toEqual([]);
});

test('a list of databases that the browser never gives keeps the client from nothing', async () => {
  await open(async page => {
    await page.addInitScript(() => { IDBFactory.prototype.databases = () => new Promise(() => {}); });
  });
});

test('without IndexedDB, as in some private windows, everything lives in memory', async () => {
  const page = await open(async page => {
    await page.addInitScript(() => Object.defineProperty(window, 'indexedDB', { value: undefined }));
  });
  const stored = await write(page, 'private-1');
  expect(stored).toBe(false);
  await told(page, 'unavailable');
  await arrives('private-1');
  await page.waitForSelector('#private-1');
});

test('a full disk is told, nothing that was made is lost, and there is room again later', async () => {
  const origin = stage.origin;
  // Before there is a database, since browsers remember for a while how much room there was.
  const page = await open(async page => {
    await (await chromium.devtools(page)).send('Storage.overrideQuotaForOrigin', { origin, quotaSize: 400_000 });
  });
  expect(await write(page, 'full-1')).toBe(true);
  let last = '';
  await until('there is no room', async () => {
    last = `full-${Math.random()}`;
    return !await write(page, last, 'long '.repeat(20_000));
  });
  await told(page, 'quota');
  // Not durable, and said so; it goes to the server all the same, and is shown.
  await arrives(last);
  await page.waitForFunction(id => document.getElementById(id), last);
  await (await chromium.devtools(page)).send('Storage.overrideQuotaForOrigin', { origin });
  await until('writes are stored again', () => write(page, `full-${Math.random()}`));
}, 180_000);

test('a database that the browser closes by force is opened again, and what the page holds is stored', async () => {
  const page = await open();
  await stage.mode.server.kill();
  expect(await write(page, 'forced-1')).toBe(true);
  const devtools = await chromium.devtools(page);
  await devtools.send('Storage.clearDataForOrigin', { origin: stage.origin, storageTypes: 'indexeddb' });
  await until('the loss is told', async () => {
    await write(page, `forced-${Math.random()}`);
    const problems = await page.evaluate(() => window.app.problems);
    return problems.some(kind => kind === 'evicted' || kind === 'closed');
  });
  await until('writes are stored again', () => write(page, 'forced-2'));
  // What was durable before is so again, without a server: another page sends it.
  await page.close();
  await stage.mode.server.start();
  await open();
  await arrives('forced-1');
  await arrives('forced-2');
});

test('a connection that refuses transactions is replaced, though the browser has told nothing', async () => {
  const page = await open(async page => {
    await page.addInitScript(() => {
      const { transaction } = IDBDatabase.prototype;
      const dead = new WeakSet<IDBDatabase>();
      IDBDatabase.prototype.transaction = function (...args) {
        if (window.isDead) dead.add(this);
        if (dead.has(this)) throw new DOMException('The database connection is closing.', 'InvalidStateError');
        return transaction.apply(this, args);
      };
    });
  });
  await page.evaluate(() => { window.isDead = true; });
  expect(await write(page, 'dead-1')).toBe(false);
  await told(page, 'closed');
  await page.evaluate(() => { window.isDead = false; });
  await until('writes are stored again', () => write(page, `dead-${Math.random()}`));
  await arrives('dead-1');
});

test('what is deleted stays deleted, and a page that had it open goes on in memory', async () => {
  const [page, other] = [await open(), await open()];
  const name = await other.evaluate(async () => {
    await window.app.zero.delete();
    return window.app.zero.idbName;
  });
  expect(await write(page, 'deleted-1')).toBe(false);
  await told(page, 'unavailable');
  await arrives('deleted-1');
  await write(page, 'deleted-2');
  await arrives('deleted-2');
  await until('the page is told of what happens', () => page.evaluate(async () => {
    const rows = await window.app.zero.run(window.app.zql.task);
    return rows.filter(({ id }) => id.startsWith('deleted-')).length === 2 && window.app.zero.pending.current.length === 0;
  }));
  const left = () => page.evaluate(async () => [(await indexedDB.databases()).map(({ name }) => name), window.app.problems] as const);
  const [names, problems] = await left();
  expect(names).not.toContain(name);
  expect(problems).toEqual(['unavailable']);
});

test('a transaction that never ends does not keep a client from closing', async () => {
  const page = await open(async page => {
    await page.addInitScript(() => {
      const { transaction } = IDBDatabase.prototype;
      IDBDatabase.prototype.transaction = function (...args) {
        const made = transaction.apply(this, args);
        if (window.isMute) {
          window.mute = this;
          for (const end of ['complete', 'abort']) made.addEventListener(end, event => event.stopImmediatePropagation());
        }
        return made;
      };
    });
  });
  await page.evaluate(() => { window.isMute = true; });
  const writing = write(page, 'mute-at-the-end');
  await page.waitForFunction(() => window.mute);
  await page.evaluate(() => window.app.zero.close());
  expect(await writing).toBe(false);
});

declare global {
  interface Window { isDead: boolean; isMute: boolean; mute: IDBDatabase | undefined; aborts: boolean; hasOpened?: boolean }
}

test('a transaction of whose end the browser never tells holds nothing up when it has closed the database', async () => {
  const page = await open(async page => {
    await page.addInitScript(() => {
      const { transaction } = IDBDatabase.prototype;
      IDBDatabase.prototype.transaction = function (...args) {
        const made = transaction.apply(this, args);
        if (window.isMute) {
          window.mute = this;
          for (const end of ['complete', 'abort']) made.addEventListener(end, event => event.stopImmediatePropagation());
        }
        return made;
      };
    });
  });
  await page.evaluate(() => { window.isMute = true; });
  const writing = write(page, 'mute-1');
  await page.waitForFunction(() => window.mute);
  await page.evaluate(() => {
    window.isMute = false;
    window.mute!.dispatchEvent(new Event('close'));
  });
  // Whether it was stored is not known, so it is stored again.
  await writing;
  await told(page, 'closed');
  await until('writes are stored again', () => write(page, `mute-${Math.random()}`));
  await arrives('mute-1');
  await until('nothing waits', () => page.evaluate(() => window.app.zero.pending.current.length === 0));
});

test('a write in a transaction that is aborted without a reason is not told as stored', async () => {
  const page = await open(async page => {
    await page.addInitScript(() => {
      const { commit } = IDBTransaction.prototype;
      IDBTransaction.prototype.commit = function () {
        const aborts = window.aborts && this.durability === 'strict';
        return aborts ? this.abort() : commit.call(this);
      };
    });
  });
  await page.evaluate(() => { window.aborts = true; });
  expect(await write(page, 'aborted-1')).toBe(false);
  await told(page, 'closed');
  await page.evaluate(() => { window.aborts = false; });
  await until('writes are stored again', () => write(page, `aborted-${Math.random()}`));
  await arrives('aborted-1');
});

test('in a private window everything works while it is open', async () => {
  const page = await chromium.privatePage('about:blank');
  await page.goto(stage.url());
  await page.waitForSelector('main[data-state=complete]', { state: 'attached' });
  expect(await write(page, 'window-1')).toBe(true);
  await page.reload();
  await page.waitForSelector('#window-1');
  await arrives('window-1');
  expect(await page.evaluate(() => window.app.problems)).toEqual([]);
});
