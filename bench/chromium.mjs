// Headless Chromium with one page that is isolated from others, so that its clock is fine and its memory can be asked for.
import { createServer } from 'node:http';
import { readFile } from 'node:fs/promises';
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

/** Serves `files` (name to path) and opens `page.html` of them. */
export async function openPage(files) {
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
  const executablePath = findChromium();
  if (!executablePath) throw new Refusal('Chromium was not found: run `npm run setup`');
  const browser = await chromium.launch({ executablePath, args: FLAGS });
  const page = await browser.newPage();
  const url = `http://127.0.0.1:${server.address().port}/page.html`;
  return {
    page,
    version: browser.version(),
    load: () => page.goto(url),
    async close() {
      await browser.close();
      server.closeAllConnections();
      await new Promise(resolve => server.close(resolve));
    },
  };
}
