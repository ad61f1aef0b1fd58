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

/** What is kept of results, as text. */
const kept = (page: Page, name: string) => inDatabase<string>(page, name, `async (database, asked) => {
  const values = await asked(database.transaction('head').objectStore('head').getAll());
  database.close();
  return values.filter(value => value[0] === 75).map(value => new TextDecoder('latin1').decode(value)).join();
}`);

/** A page with one task, whose result is kept. */
async function openKept(id: string): Promise<{ page: Page; name: string }> {
  const page = await stage.open(chromium);
  const name = await page.evaluate(async id => {
    const { zero, mutators } = window.app;
    await zero.mutate(mutators.task.create({ id, title: id, rank: 1 })).server;
    return zero.idbName;
  }, id);
  await until('the result is kept', async () => (await kept(page, name)).includes(id));
  return { page, name };
}

test('a page shows what the last one showed before it has read its rows', async () => {
  const { page: first, name } = await openKept('kept-1');
  await first.goto(`${stage.origin}/bare.html?none`);
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
  await first.evaluate(() => { Object.assign(window, { isHeld: false }); });
  await until('the rows are read', isRead);
  await second.waitForSelector('main[data-state=complete] #kept-1', { state: 'attached' });
});

test('a page that is left keeps what it has just shown', async () => {
  const { page, name } = await openKept('left-1');
  await stage.mode.server.kill();
  await page.waitForSelector('main:not([data-connection=connected])', { state: 'attached' });
  await page.evaluate(() => {
    const { zero, zql } = window.app;
    zero.materialize(zql.task.where('title', 'left-1'));
  });
  await page.goto(`${stage.origin}/bare.html?none`);
  expect(await kept(page, name)).toContain('"value":"left-1"');
});
