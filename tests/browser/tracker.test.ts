// The example as its user meets it: seeded, embedded, installed, offline.
import { execFileSync } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { preview, type PreviewServer } from 'vite';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Page } from 'playwright-core';
import { root } from '../../scripts/tools.mjs';
import { Chromium, executeOnFile, folder, LandfallServer, until } from './world.ts';

const tracker = join(root, 'examples/tracker');
const node = (script: string, ...args: string[]) =>
  execFileSync('node', [join(tracker, 'dist-node', script), ...args], { maxBuffer: 1 << 28, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });

const files = folder();
const database = join(files, 'tracker.sqlite');
let server: LandfallServer;
let site: PreviewServer | undefined;
let browser: Chromium;
let page: Page;
let port = 0;

async function startSite(): Promise<void> {
  process.env.LANDFALL_URL = server.url;
  site = await preview({ root: tracker, logLevel: 'error', preview: { port, strictPort: port !== 0, host: '127.0.0.1' } });
  port = (site.httpServer.address() as { port: number }).port;
}
const stopSite = async () => {
  await site?.close();
  site = undefined;
};
const open = () => browser.page(`http://127.0.0.1:${port}/`);
/** Whether the database of the page is as large as the texts of its rows at least: then they are all in it. */
async function isStored(): Promise<boolean> {
  const { __zero: zero } = globalThis as unknown as { __zero: { exportJSON(): Promise<string>; idbName: string } };
  let texts = 0;
  JSON.parse(await zero.exportJSON(), (_, value: unknown) => {
    if (typeof value === 'string') texts += value.length;
    return value;
  });
  const asked = <T>(request: IDBRequest<T>) => new Promise<T>((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  const database = await asked(indexedDB.open(zero.idbName));
  let stored = 0;
  for (const name of ['log', 'pages']) {
    const values = await asked(database.transaction(name).objectStore(name).getAll()) as Uint8Array[];
    stored += values.reduce((sum, { length }) => sum + length, 0);
  }
  database.close();
  return texts > 0 && stored >= texts;
}
const firstTitle = () => page.locator('.row .title').first().textContent();

beforeAll(async () => {
  execFileSync('node', [join(tracker, 'build-api.mjs')], { stdio: 'ignore' });
  executeOnFile(database, node('seed-sqlite.mjs'));
  const permissions = join(files, 'permissions.json');
  node('permissions.mjs', permissions);
  server = await new LandfallServer({ LANDFALL_UPSTREAM_DB: database, LANDFALL_PERMISSIONS: permissions }).start();
  await startSite();
  browser = await new Chromium().start();
  page = await open();
});
afterAll(async () => {
  await browser?.close();
  await stopSite();
  await server?.stop();
  rmSync(files, { recursive: true, force: true });
});

test('the list shows seeded issues, sorts and searches them', async () => {
  expect((executeOnFile(database, 'SELECT count(*) AS n FROM issue') as { n: number }[])[0]!.n).toBeGreaterThanOrEqual(10_000);
  await page.waitForSelector('.row');
  const [newest] = executeOnFile(database, 'SELECT title FROM issue WHERE open = 1 ORDER BY modified DESC, id DESC LIMIT 1') as { title: string }[];
  await until('the newest is on top', async () => await firstTitle() === newest!.title);
  await page.selectOption('select[aria-label=Sort]', 'title');
  const [first] = executeOnFile(database, 'SELECT title FROM issue WHERE open = 1 ORDER BY title, id LIMIT 1') as { title: string }[];
  await until('the first by title is on top', async () => await firstTitle() === first!.title);
  const word = newest!.title.split(' ').find(part => part.length > 4)!;
  await page.fill('input[type=search]', word);
  await until('only matches are shown', async () => {
    const shown = await page.locator('.row .title').allTextContents();
    return shown.length > 0 && await page.locator('.row').count() > 0 && shown.some(title => title.toLowerCase().includes(word.toLowerCase()));
  });
  await page.fill('input[type=search]', '');
  await page.selectOption('select[aria-label=Sort]', 'modified');
  await until('the list is back', async () => await firstTitle() === newest!.title);
});

test('it can be used with the keyboard alone', async () => {
  await page.locator('[role=listbox]').focus();
  await page.keyboard.press('ArrowDown');
  const id = (await page.locator('.row[aria-selected=true]').getAttribute('id'))!.replace('issue-', '');
  await page.keyboard.press('Enter');
  await page.waitForURL(`**/issue/${id}`);
  await page.waitForSelector('article');
  await page.keyboard.press('Escape');
  await page.waitForSelector('[role=listbox]');
  await page.keyboard.press('n');
  await page.waitForSelector('dialog[open]');
  await page.keyboard.type('Made with the keyboard');
  await page.keyboard.press('Enter');
  await page.waitForSelector('article[aria-label="Made with the keyboard"]');
  await until('it is at the source', () =>
    executeOnFile(database, `SELECT id FROM issue WHERE title = 'Made with the keyboard'`).length === 1);
  await page.fill('textarea[name=body]', 'and a comment');
  await page.keyboard.press('Control+Enter');
  await page.waitForSelector('.comment');
  await page.keyboard.press('Escape');
});

test('it is installable', async () => {
  const manifest = await page.evaluate(async () => (await fetch(document.querySelector<HTMLLinkElement>('link[rel=manifest]')!.href)).json());
  expect(manifest).toMatchObject({ display: 'standalone', start_url: '/' });
  for (const { src } of manifest.icons) expect(await page.evaluate(async src => (await fetch(src)).status, src)).toBe(200);
  await page.evaluate(() => navigator.serviceWorker.ready);
});

test('with the network off the page opens, shows its data and takes writes, which arrive later', async () => {
  await page.goto(`http://127.0.0.1:${port}/`);
  await page.waitForSelector('.row');
  await page.evaluate(() => navigator.serviceWorker.ready);
  await until('it is live', async () => await page.locator('.status[data-state=connected]').count() === 1);
  const before = await firstTitle();
  await until('what it shows is on disk', () => page.evaluate(isStored));
  await server.kill();
  await stopSite();
  await browser.kill();
  await browser.start();
  page = await open();
  await page.waitForSelector('.row');
  expect(await firstTitle()).toBe(before);
  await page.click('text=New issue');
  await page.fill('dialog input[name=title]', 'Written at sea');
  await page.click('dialog button[type=submit]');
  await page.waitForSelector('article[aria-label="Written at sea"]');
  await page.waitForSelector('.pending button');
  await server.start();
  await startSite();
  await until('the write arrived', () => executeOnFile(database, `SELECT id FROM issue WHERE title = 'Written at sea'`).length === 1);
  await until('nothing is pending', async () => await page.locator('.pending button').count() === 0);
});

test('no error was logged but those of the missing network', () => {
  const unexpected = browser.problems.filter(problem => !/ERR_|WebSocket|Failed to (load|fetch)|NetworkError/i.test(problem));
  expect(unexpected).toEqual([]);
});

test('the built page names no other host', () => {
  const html = readFileSync(join(tracker, 'dist/index.html'), 'utf8');
  expect(html).not.toMatch(/(src|href)="https?:/);
});
