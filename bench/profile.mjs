// Where the time of a case goes: CPU profiles of the page, with the names of the functions of the WebAssembly module.
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Refusal, root, run } from '../scripts/tools.mjs';
import { shortenNames } from '../scripts/wasm-names.mjs';

const LINES = 30;
// Samples that are further apart: meanwhile the page had no processor.
const MOST_APART_MS = 0.5;

/** The module that ships, but with the names of its functions; gives its path. `js/wasm` must be built. */
export function namedModule(out) {
  const folder = join(out, 'named');
  mkdirSync(folder, { recursive: true });
  const target = process.env.CARGO_TARGET_DIR ?? join(root, 'target');
  const built = join(target, 'wasm32-unknown-unknown/wasm/landfall_web.wasm');
  run('wasm-bindgen', ['--target', 'no-modules', '--out-dir', folder, '--out-name', 'landfall', '--no-typescript', built]);
  const wasm = join(folder, 'landfall_bg.wasm');
  shortenNames(wasm, join(folder, 'landfall.js'));
  const named = join(folder, 'landfall_named.wasm');
  run('wasm-opt', ['-Oz', '-g', wasm, '-o', named]);
  if (spawnSync('grep', ['-c', 'landfall_ivm', named]).status !== 0) throw new Refusal('the module has no names');
  return named;
}

/** Makes the page's `benchBegin` and `benchEnd` record profiles. */
export async function profiler(page, out) {
  const session = await page.context().newCDPSession(page);
  await session.send('Profiler.enable');
  await session.send('Profiler.setSamplingInterval', { interval: 100 });
  const cases = new Map();
  await page.exposeFunction('benchBegin', () => session.send('Profiler.start').then(() => undefined));
  await page.exposeFunction('benchEnd', async (engine, name) => {
    const { profile } = await session.send('Profiler.stop');
    const key = `${engine} ${name}`;
    const totals = cases.get(key) ?? { count: 0, self: new Map(), whole: new Map() };
    cases.set(key, totals);
    totals.count += 1;
    add(profile, totals);
    writeFileSync(join(out, `${key.replaceAll(/[^\w]+/g, '-')}.${totals.count}.cpuprofile`), JSON.stringify(profile));
  });
  return {
    print() {
      for (const [key, { count, self, whole }] of cases) {
        console.log(`\n${key}, ${count} profiles; ms of each: in the function itself, with what it calls`);
        const top = [...self].sort(([, a], [, b]) => b - a).slice(0, LINES);
        for (const [name, ms] of top) {
          console.log(`${(ms / count).toFixed(2).padStart(9)} ${((whole.get(name) ?? 0) / count).toFixed(2).padStart(9)}  ${name}`);
        }
      }
    },
  };
}

function add({ nodes, samples, timeDeltas }, { self, whole }) {
  const byID = new Map(nodes.map(node => [node.id, node]));
  const parents = new Map(nodes.flatMap(node => (node.children ?? []).map(child => [child, node.id])));
  const own = new Map();
  samples.forEach((id, i) => own.set(id, (own.get(id) ?? 0) + Math.min(Math.max(0, timeDeltas[i]) / 1000, MOST_APART_MS)));
  for (const [id, ms] of own) {
    const name = nameOf(byID.get(id));
    if (name === '(program)' || name === '(idle)') continue;
    self.set(name, (self.get(name) ?? 0) + ms);
    const seen = new Set();
    for (let at = id; at !== undefined; at = parents.get(at)) {
      const above = nameOf(byID.get(at));
      if (!seen.has(above)) whole.set(above, (whole.get(above) ?? 0) + ms);
      seen.add(above);
    }
  }
}

function nameOf({ callFrame: { functionName, url, lineNumber } }) {
  const name = functionName.replace(/::h[0-9a-f]{16}$/, '');
  return name || `${url.split('/').at(-1)}:${lineNumber + 1}`;
}
