// Headless Chromium with pages that are isolated from others, so that their clock is fine and their memory can be asked for.
import { createServer } from 'node:http';
import { mkdtempSync, rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { extname, join } from 'node:path';
import { chromium } from 'playwright-core';
import { findChromium, Refusal } from '../scripts/tools.mjs';

const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.wasm': 'application/wasm' };
const ISOLATED = { 'cross-origin-opener-policy': 'same-origin', 'cross-origin-embedder-policy': 'require-corp', 'cache-control': 'no-store' };
const FLAGS = [
  '--no-sandbox', '--disable-gpu', '--disable-extensions', '--disable-background-networking', '--disable-component-update',
  '--disable-dev-shm-usage', '--disable-background-timer-throttling', '--disable-renderer-backgrounding',
  '--js-flags=--expose-gc --max-old-space-size=8192',
];

/** Serves `files` (name to path) until it is stopped. */
async function serve(files) {
  const server = createServer(async (request, response) => {
    const name = new URL(request.url, 'http://bench').pathname.slice(1);
    const path = files[name];
    if (path === undefined) {
      response.writeHead(404).end();
      return;
    }
    response.writeHead(200, { ...ISOLATED, 'content-type': TYPES[extname(name)] ?? 'application/octet-stream' });
    response.end(await readFile(path));
  });
  await new Promise(resolve => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}/page.html`,
    async stop() {
      server.closeAllConnections();
      await new Promise(resolve => server.close(resolve));
    },
  };
}

function executable() {
  const path = findChromium();
  if (!path) throw new Refusal('Chromium was not found: run `npm run setup`');
  return path;
}

/** Opens `page.html` of `files`. */
export async function openPage(files) {
  const executablePath = executable();
  const site = await serve(files);
  const temporary = mkdtempSync(join(tmpdir(), 'landfall-bench-'));
  const browser = await chromium.launch({ executablePath, args: FLAGS, env: { ...process.env, TMPDIR: temporary } });
  const page = await browser.newPage();
  return {
    page,
    version: browser.version(),
    load: () => page.goto(site.url),
    async close() {
      await browser.close();
      await site.stop();
      rmSync(temporary, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

/**
 * Makes the page's `benchBegin` and `benchEnd` measure the time of the processor in the page's main thread: what other
 * work of the machine takes away is not in it.
 */
export async function processorClock(page) {
  const session = await page.context().newCDPSession(page);
  await session.send('Performance.enable');
  const now = async () => {
    const { metrics } = await session.send('Performance.getMetrics');
    return metrics.find(({ name }) => name === 'ThreadTime').value * 1000;
  };
  let start = 0;
  let empty = 0;
  await page.exposeFunction('benchBegin', async () => void (start = await now()));
  await page.exposeFunction('benchEnd', async () => (await now()) - start - empty);
  // What the two calls cost themselves.
  const costs = await page.evaluate(async () => {
    const list = [];
    for (let i = 0; i < 51; i++) {
      await globalThis.benchBegin();
      list.push(await globalThis.benchEnd());
    }
    return list;
  });
  empty = costs.sort((a, b) => a - b)[25];
}

/** A browser whose storage is on disk; `visit` opens `page.html` of `files` in a fresh page and closes it after `work`. */
export async function openProfile(files) {
  const executablePath = executable();
  const site = await serve(files);
  const folder = mkdtempSync(join(tmpdir(), 'landfall-bench-chromium-'));
  const env = { ...process.env, TMPDIR: folder };
  const context = await chromium.launchPersistentContext(folder, { executablePath, args: FLAGS, env });
  return {
    version: context.browser()?.version() ?? '',
    async visit(work) {
      const page = await context.newPage();
      page.on('pageerror', error => console.error(String(error)));
      page.on('console', message => message.type() === 'error' && console.error(message.text()));
      const session = await context.newCDPSession(page);
      await page.exposeFunction('benchHeap', async () => {
        await session.send('HeapProfiler.collectGarbage');
        await session.send('HeapProfiler.collectGarbage');
        return (await session.send('Runtime.getHeapUsage')).usedSize;
      });
      try {
        await page.goto(site.url);
        return await work(page, session);
      } finally {
        await page.close();
      }
    },
    async close() {
      await context.close();
      await site.stop();
      rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}
