// What a page shows before it has read its rows: what the last one showed.
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
  await stage.mode.server.start();
});

/** Opens the client's database in a page of the same origin, and gives what `use` says. */
const inDatabase = <T>(page: Page, name: string, use: string): Promise<T> => page.evaluate(async ({ name, use }) => {
  const asked = <T>(request: IDBRequest<T>) => new Promise<T>((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  const database = await asked(indexedDB.open(name));
  return await new Function('database', 'asked', `return (${use})(database, asked)`)(database, asked) as T;
}, { name, use });

/** What is kept of results of the rows that are stored, as text. */
const kept = (page: Page, name: string) => inDatabase<string>(page, name, `async (database, asked) => {
  const values = await asked(database.transaction('head').objectStore('head').getAll());
  database.close();
  // Group and cookie; before the cookie of the head stands whether it has one.
  const place = (value, skipped) => {
    const view = new DataView(value.buffer, value.byteOffset);
    const group = 6 + view.getUint32(2, true);
    const cookie = group + skipped + 4;
    return [value.subarray(6, group), value.subarray(cookie, cookie + view.getUint32(cookie - 4, true))].join();
  };
  const of = kind => values.filter(value => value[0] === kind.charCodeAt(0));
  const head = place(of('H')[0], 1);
  const current = of('K').filter(value => place(value, 0) === head);
  return current.map(value => new TextDecoder('latin1').decode(value)).join();
}`);

/** A page with one task, whose result is kept; the server is gone, so that nothing happens any more. */
async function openKept(id: string): Promise<{ page: Page; name: string }> {
  const page = await stage.open(chromium);
  const name = await page.evaluate(async id => {
    const { zero, mutators } = window.app;
    await zero.mutate(mutators.task.create({ id, title: id, rank: 1 })).server;
    return zero.idbName;
  }, id);
  await page.waitForSelector('main[data-state=complete]', { state: 'attached' });
  await stage.mode.server.kill();
  await page.waitForSelector('main:not([data-connection=connected])', { state: 'attached' });
  await until('the result is kept', async () => (await kept(page, name)).includes(id));
  return { page, name };
}

/** Goes to a document of the same origin without a client: the text of the page's script. */
const leave = async (page: Page) => {
  await page.goto(await page.evaluate(() => document.querySelector<HTMLScriptElement>('script[src]')!.src));
};

test('a page shows what the last one showed before it has read its rows', async () => {
  const { page: first, name } = await openKept('kept-1');
  await leave(first);
  // Nobody can write to the stores as long as somebody reads them, and rows are read by who may write.
  await inDatabase(first, name, `database => {
    window.isHeld = true;
    const store = database.transaction('pages').objectStore('pages');
    const hold = () => {
      if (window.isHeld) store.count().onsuccess = hold;
      else database.close();
    };
    hold();
  }`);
  const second = await stage.open(chromium);
  await second.waitForSelector('#kept-1', { state: 'attached' });
  const isRead = () => second.evaluate(() => Promise.race([
    window.app.zero.run(window.app.queries.tasks.all()).then(() => true),
    new Promise<boolean>(resolve => setTimeout(resolve, 300, false)),
  ]));
  expect(await isRead()).toBe(false);
  expect(await second.getAttribute('main', 'data-state')).toBe('unknown');
  await stage.mode.server.start();
  await first.evaluate(() => { Object.assign(window, { isHeld: false }); });
  await until('the rows are read', isRead);
  await second.waitForSelector('main[data-state=complete] #kept-1', { state: 'attached' });
});

test('a page that is left keeps what it has just shown', async () => {
  const { page, name } = await openKept('left-1');
  await page.evaluate(() => {
    const { zero, zql } = window.app;
    zero.materialize(zql.task.where('title', 'left-1'));
  });
  await leave(page);
  expect(await kept(page, name)).toContain('"value":"left-1"');
});
