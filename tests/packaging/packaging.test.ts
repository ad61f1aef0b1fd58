// The packed package in the hands of others: compilers, bundlers, Node, a worker, a page with a Content Security Policy.
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as esbuild from 'esbuild';
import * as vite from 'vite';
import { afterAll, beforeAll, expect, test } from 'vitest';
import webpack from 'webpack';
import { root } from '../../scripts/tools.mjs';
import { installPacked } from '../browser/pack.mjs';
import { Chromium, folder, serveFolder, until } from '../browser/world.ts';

const POLICY = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'";

// Outside of the repository, so that nothing of it is found by accident.
const site = folder();
const scripts = join(site, 'scripts');
let chromium: Chromium;
beforeAll(async () => {
  installPacked(site, join(import.meta.dirname, 'app'), ['react', 'react-dom', 'scheduler', 'csstype', '@types/react', '@types/react-dom', '@types/node', 'undici-types']);
  compile(['--module', 'esnext', '--moduleResolution', 'bundler', '--outDir', scripts]);
  cpSync(join(site, 'index.html'), join(scripts, 'index.html'));
  chromium = await new Chromium().start();
});
afterAll(async () => {
  await chromium?.close();
  rmSync(site, { recursive: true, force: true });
});

/** Compiles as a strict application does; throws what the compiler says. */
function compile(options: readonly string[], files = ['main.ts', 'main-with-file.ts', 'worker.ts', 'worker-with-file.ts', 'render.tsx', 'in-node.ts', 'files.d.ts']) {
  const done = spawnSync(join(root, 'node_modules/.bin/tsc'), [
    '--strict', '--skipLibCheck', 'false', '--exactOptionalPropertyTypes', '--noUncheckedIndexedAccess', '--verbatimModuleSyntax',
    '--target', 'es2022', '--jsx', 'react-jsx', '--rootDir', '.', '--ignoreConfig', ...options, ...files,
  ], { cwd: site, encoding: 'utf8' });
  if (done.status !== 0) throw new Error(done.stdout + done.stderr);
}

/** Both halves of the page work under the policy, and nothing complains. */
async function works(page: string) {
  const server = await serveFolder(page, { 'content-security-policy': POLICY });
  try {
    const tab = await chromium.page(server.url);
    await until('the page shows its row', async () => await tab.locator('#page').textContent() === 'from the page');
    await until('the worker has stored its row', async () => await tab.locator('#worker').textContent() !== '');
    expect(await tab.locator('#worker').textContent()).toBe('success: from the worker');
    expect(chromium.problems).toEqual([]);
    await tab.close();
  } catch (error) {
    throw new Error(`the page said: ${chromium.problems.splice(0).join('; ')}`, { cause: error });
  } finally {
    await server.close();
  }
}

test('an endpoint compiles without the types of a browser', () => {
  compile(['--module', 'nodenext', '--lib', 'es2022', '--types', 'node', '--noEmit'], ['endpoint.ts']);
});

test('an application compiles as Node resolves modules', () => {
  compile(['--module', 'node16', '--moduleResolution', 'node16', '--noEmit']);
});

test('a server renders a page that uses it', () => {
  expect(execFileSync(process.execPath, [join(scripts, 'render.js')], { encoding: 'utf8' })).toBe('rendered true\n');
});

test('Node runs a client in memory', () => {
  expect(JSON.parse(execFileSync(process.execPath, [join(scripts, 'in-node.js')], { encoding: 'utf8' })))
    .toEqual([{ done: false, id: 'node', text: 'from Node' }]);
});

test('Vite builds a page with it', async () => {
  const outDir = join(site, 'vite');
  await vite.build({ root: scripts, configFile: false, logLevel: 'error', worker: { format: 'es' }, build: { outDir, target: 'es2022', minify: false } });
  await works(outDir);
});

test('the guides lead to a page that opens, writes and reloads without a network', async () => {
  const app = folder();
  const build = async () => {
    const guide = (name: string) => readFileSync(join(root, `www/guide/${name}.md`), 'utf8');
    mkdirSync(join(app, 'node_modules/@vitejs'), { recursive: true });
    const neighbours = ['landfall', 'react', 'react-dom', 'scheduler'];
    for (const name of neighbours) symlinkSync(join(site, 'node_modules', name), join(app, 'node_modules', name));
    for (const name of ['vite', '@vitejs/plugin-react']) symlinkSync(join(root, 'node_modules', name), join(app, 'node_modules', name));
    mkdirSync(join(app, 'src'));
    for (const [, name, code] of guide('start').matchAll(/^```tsx?\n\/\/ (\S+)\n([\s\S]*?)^```$/gm)) writeFileSync(join(app, 'src', name!), code!);
    for (const [, name, code] of guide('offline').matchAll(/^```(?:js|ts)\n\/\/ (\S+)\n([\s\S]*?)^```$/gm)) writeFileSync(join(app, name!), code!);
    const register = /^```ts\n(if .*)\n```$/m.exec(guide('offline'))![1]!;
    writeFileSync(join(app, 'src/main.tsx'), `\n${register}\n`, { flag: 'a' });
    writeFileSync(join(app, 'index.html'), '<!doctype html><div id="root"></div><script type="module" src="/src/main.tsx"></script>');
    // As a user runs it: what Vitest says of the environment would make it a build for tests.
    const { NODE_ENV: _, ...env } = process.env;
    execFileSync(process.execPath, [join(root, 'node_modules/vite/bin/vite.js'), 'build', '--logLevel', 'error'], { cwd: app, env });
    return serveFolder(join(app, 'dist'));
  };
  let server: Awaited<ReturnType<typeof build>> | undefined;
  try {
    server = await build();
    const tab = await chromium.page(server.url);
    const add = async (text: string) => {
      await tab.locator('input').fill(text);
      await tab.locator('input').press('Enter');
      await until(`it shows ${text}`, async () => (await tab.locator('ul').textContent())!.includes(text));
    };
    await until('the service worker serves the page', () => tab.evaluate(() => navigator.serviceWorker.controller !== null));
    await add('with a network');
    await server.close();
    await add('without one');
    // Resolves when everything is stored.
    await tab.evaluate(() => (globalThis as any).__zero.close());
    await tab.reload();
    await until('the reloaded page shows both', async () => {
      const text = await tab.locator('ul').textContent() ?? '';
      return text.includes('with a network') && text.includes('without one');
    });
    await tab.close();
    chromium.problems.splice(0); // That nobody answers at the address of the guide's server.
  } finally {
    await server?.close();
    rmSync(app, { recursive: true, force: true });
  }
});

test('webpack builds a page with it', async () => {
  const path = join(site, 'webpack');
  const stats = await new Promise<webpack.Stats | undefined>((resolve, reject) => webpack({
    mode: 'development', devtool: false, context: scripts, entry: './main.js', output: { path, filename: 'main.js' },
  }, (error, stats) => error ? reject(error) : resolve(stats)));
  expect(stats?.toJson({ all: false, errors: true, warnings: true })).toMatchObject({ errors: [], warnings: [] });
  cpSync(join(scripts, 'index.html'), join(path, 'index.html'));
  await works(path);
});

test('esbuild builds a page with it, when it is told where the module is', async () => {
  const outdir = join(site, 'esbuild');
  const { errors, warnings } = await esbuild.build({
    entryPoints: [join(scripts, 'main-with-file.js'), join(scripts, 'worker-with-file.js')],
    outdir, bundle: true, format: 'esm', loader: { '.wasm': 'file' }, publicPath: '/', logLevel: 'silent',
  });
  expect([errors, warnings]).toEqual([[], []]);
  mkdirSync(outdir, { recursive: true });
  cpSync(join(scripts, 'index.html'), join(outdir, 'index.html'));
  cpSync(join(outdir, 'main-with-file.js'), join(outdir, 'main.js'));
  await works(outdir);
});
