import {afterEach, expect, test, vi} from 'vitest';
import {viteBase, viteModuleURL} from '../../src/core/vite.js';

afterEach(() => vi.unstubAllGlobals());

test.each([
  ['http://localhost:5173/node_modules/.vite/deps/chunk-OJ7AG5W6.js?v=456396f6', 'http://localhost:5173/'],
  ['http://localhost:5173/app/node_modules/.vite/deps/landfall.js?v=1', 'http://localhost:5173/app/'],
  ['http://localhost:5173/@fs/tmp/cache/.vite/deps/landfall.js', 'http://localhost:5173/'],
  ['http://localhost:5173/.vite/deps/landfall.js', 'http://localhost:5173/'],
  ['http://localhost:3000/_nuxt/node_modules/.cache/vite/client/deps/landfall.js?v=1', 'http://localhost:3000/_nuxt/'],
  ['http://localhost:5173/node_modules/landfall/dist/core/load.js', undefined],
  ['https://example.com/assets/index-BK3b2jBa.js', undefined],
  ['file:///home/ann/app/node_modules/.vite/deps/landfall.js', undefined],
])('%s was bundled by a dev server at %s', (script, base) => {
  expect(viteBase(script)).toBe(base);
});

const script = 'http://localhost:5173/app/node_modules/.vite/deps/chunk-OJ7AG5W6.js?v=456396f6';

/** A dev server where the package has this name. */
function serve(name: string, place: string) {
  const asked: string[] = [];
  vi.stubGlobal('fetch', async (url: string) => {
    asked.push(url);
    const isFound = url === `http://localhost:5173/app/@id/${name}/landfall.wasm?import&init`;
    const code = (url: string) => `import initWasm from "/app/@id/__x00__vite/wasm-helper.js"; export default opts => initWasm(opts, ${JSON.stringify(url)})`;
    return isFound ? new Response(code(place)) : url.includes('zero') ? new Response('', {status: 404}) : new Response(code('/@fs/landfall/landfall.wasm?init'));
  });
  return asked;
}

test.each([
  ['landfall', '/app/node_modules/landfall/wasm/landfall_bg.wasm', '?init'],
  ['@rocicorp/zero', '/app/@fs/home/ann/workspace/node_modules/@rocicorp/zero/wasm/landfall_bg.wasm', ''],
])('the dev server says where the module of %s is', async (name, place, query) => {
  serve(name, place + query);
  expect((await viteModuleURL(script))?.href).toBe(`http://localhost:5173${place}`);
});

test('a package of another name is not found, and other pages are asked for nothing', async () => {
  const asked = serve('sync', '/landfall_bg.wasm');
  expect(await viteModuleURL(script)).toBeUndefined();
  expect(asked).toHaveLength(2);
  expect(await viteModuleURL('https://example.com/assets/index.js')).toBeUndefined();
  expect(asked).toHaveLength(2);
});
