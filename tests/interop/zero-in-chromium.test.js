// The npm package @rocicorp/zero in a real Chromium, with landfall-server behind it: two tabs, reloads, a killed server.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';
import { build } from 'esbuild';
import { chromium } from 'playwright-core';
import { findChromium } from '../../scripts/tools.mjs';
import { TABLES, startEndpoint } from './app.js';
import { makeDatabase, startServer } from './landfall-server.js';

const PATIENCE = 20_000;
let database, endpoint, server, site, browser, context;

before(async () => {
  database = await makeDatabase(TABLES);
  endpoint = await startEndpoint(database.sql);
  server = await startServer(database, endpoint);
  site = await startSite({ cacheURL: server.url });
  browser = await chromium.launch({ executablePath: findChromium(), args: ['--no-sandbox'] });
  context = await browser.newContext();
});
after(async () => {
  await browser?.close();
  site?.stop();
  await server?.stop();
  endpoint?.stop();
  await database?.drop();
});

async function startSite(settings) {
  const { outputFiles: [script] } = await build({
    entryPoints: [new URL('page.js', import.meta.url).pathname], bundle: true, format: 'esm', target: 'es2022', write: false, logLevel: 'error',
    define: { 'process.env.NODE_ENV': '"production"' },
  });
  const page = `<!doctype html><title>Zero</title><ul></ul><script>globalThis.settings = ${JSON.stringify(settings)}</script>
    <script type="module" src="/page.js"></script>`;
  const http = createServer((request, response) => {
    const isScript = request.url === '/page.js';
    response.writeHead(200, { 'content-type': isScript ? 'text/javascript' : 'text/html' }).end(isScript ? script.text : page);
  });
  await new Promise(resolve => http.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${http.address().port}/`, stop: () => { http.close(); http.closeAllConnections(); } };
}

async function open() {
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  await page.goto(site.url);
  return page;
}
const shows = (page, text) => page.locator('li', { hasText: text }).first().waitFor();
const complete = page => page.locator('ul[data-type=complete]').waitFor({ state: 'attached' });
const items = page => page.locator('li').allTextContents();

test('two tabs of one store show what the database holds', async () => {
  const [first, second] = [await open(), await open()];
  await complete(first);
  await complete(second);
  assert.deepEqual(await items(first), ['third (0)', 'second (1)', 'first (2)']);
  await database.sql`INSERT INTO comment VALUES ('c9', 'i3', 'x')`;
  await shows(first, 'third (1)');
  await shows(second, 'third (1)');
  const outcome = await first.evaluate(() => globalThis.create({ id: 'n1', title: 'from a tab', ownerID: 'ann', rank: 9 }));
  assert.equal(outcome.local, 'success');
  assert.match(outcome.shown, /from a tab/);
  assert.equal(outcome.server, 'success');
  await shows(second, 'from a tab');
  const refused = await second.evaluate(() => globalThis.rename({ id: 'n1', title: 'forbidden' }));
  assert.deepEqual(refused, { type: 'error', details: { title: 'forbidden' } });
  await shows(second, 'from a tab');
  await second.close();
  // The next tests begin with one tab.
  await first.close();
});

test('a page that comes back goes on from its store', async () => {
  const page = await open();
  await complete(page);
  // Zero writes its store when the page is idle.
  await page.waitForTimeout(3_000);
  await page.reload();
  await shows(page, 'from a tab');
  await complete(page);
  await database.sql`UPDATE issue SET title = 'renamed by hand' WHERE id = 'i2'`;
  await shows(page, 'renamed by hand');
  await page.close();
});

test('a killed server is caught up with', async () => {
  const page = await open();
  await complete(page);
  await server.kill();
  await page.locator('body:not([data-connection=connected])').waitFor({ state: 'attached' });
  await database.sql`UPDATE issue SET title = 'while the server was away' WHERE id = 'i1'`;
  await server.start();
  await shows(page, 'while the server was away');
  const outcome = await page.evaluate(() => globalThis.create({ id: 'n2', title: 'afterwards', ownerID: 'ann', rank: 8 }));
  assert.equal(outcome.server, 'success');
  assert.equal((await database.sql`SELECT count(*)::int AS n FROM issue WHERE id = 'n2'`)[0].n, 1);
  await page.close();
});
