// Engines side by side in one page of headless Chromium: `npm run bench:engine -- --help`.
import { parseArgs } from 'node:util';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, platform } from 'node:os';
import { join } from 'node:path';
import { build } from 'esbuild';
import { buildPackage } from '../scripts/build.mjs';
import { command, Refusal, root, say } from '../scripts/tools.mjs';
import { openPage, processorClock } from './chromium.mjs';
import { installPeers } from './peers.mjs';
import { namedModule, profiler } from './profile.mjs';
import { compare, disagreements, markdown, memoryTable, summarize, table } from './figures.mjs';

const here = join(root, 'bench');
const out = join(here, 'dist');
const ENGINES = ['landfall', 'zero', 'tanstack', 'rindle'];

const PEERS = ['@rocicorp/zero', '@tanstack/db', '@rindle/wasm'];
const BEGIN = '<!-- figures of bench:engine: begin -->';
const END = '<!-- figures of bench:engine: end -->';

const HELP = `npm run bench:engine -- [options]
  --engines a,b    of ${ENGINES.join(', ')}; all unless given
  --only a,b       only cases whose names contain one of these, for example hydrate/exists
  --rounds n       sessions of each engine (3)
  --repeats n      how often a query is opened again in each session (5)
  --limit n        seconds after which an engine's session begins no further case (120)
  --issues n       issues in the data; three times as many comments (100000)
  --no-build       takes js/wasm and js/dist as they are
  --clock cpu      counts the time of the processor in the page's main thread, for a machine that is busy with other work
  --profile        prints where the time of each measured case goes, and writes bench/dist/*.cpuprofile for Chromium's developer tools
  --write          puts the table into bench/README.md
  --json file      where the figures go (bench/dist/engine.json)`;

function options() {
  const { values } = parseArgs({
    options: {
      engines: { type: 'string' }, only: { type: 'string' }, rounds: { type: 'string', default: '3' },
      repeats: { type: 'string', default: '5' }, limit: { type: 'string', default: '120' }, issues: { type: 'string', default: '100000' },
      'no-build': { type: 'boolean' }, profile: { type: 'boolean' }, clock: { type: 'string', default: 'wall' }, write: { type: 'boolean' }, json: { type: 'string' }, help: { type: 'boolean' },
    },
  });
  if (values.help) {
    console.log(HELP);
    process.exit(0);
  }
  const list = text => text?.split(',').map(part => part.trim()).filter(Boolean) ?? [];
  const engines = values.engines ? list(values.engines) : ENGINES;
  const unknown = engines.filter(name => !ENGINES.includes(name));
  if (unknown.length) throw new Refusal(`no such engine: ${unknown.join(', ')}; there are ${ENGINES.join(', ')}`);
  const number = name => {
    const value = Number(values[name]);
    if (!Number.isInteger(value) || value < 1) throw new Refusal(`--${name} must be a whole number above 0`);
    return value;
  };
  if (!['wall', 'cpu'].includes(values.clock)) throw new Refusal('--clock is wall or cpu');
  if (values.profile && values.clock === 'cpu') throw new Refusal('--profile and --clock cpu go one after the other');
  return {
    request: {
      engines, only: list(values.only), rounds: number('rounds'), repeats: number('repeats'), issues: number('issues'),
      limitSeconds: number('limit'), profile: values.profile ?? false, clock: values.clock,
      watched: values.profile === true || values.clock === 'cpu',
    },
    build: !values['no-build'],
    write: values.write ?? false,
    json: values.json ?? join(out, 'engine.json'),
  };
}

async function bundle(wasm) {
  mkdirSync(out, { recursive: true });
  await build({
    entryPoints: [join(here, 'page/main.ts')], outfile: join(out, 'page.js'), bundle: true, format: 'esm', target: 'es2022',
    minify: false, external: ['node:*'], define: { 'process.env.NODE_ENV': '"production"' }, logLevel: 'error',
  });
  writeFileSync(join(out, 'page.html'), '<!doctype html><meta charset="utf-8"><title>bench</title><script type="module" src="page.js"></script>\n');
  return {
    'page.html': join(out, 'page.html'),
    'page.js': join(out, 'page.js'),
    'landfall_bg.wasm': wasm,
    'rindle_bg.wasm': join(here, 'node_modules/@rindle/wasm/pkg/rindle_bg.wasm'),
  };
}

/** Each engine in a page of its own, with issues alone. */
async function weigh({ page, load }, { engines, only, issues }) {
  const memory = {};
  if (only.length && !only.some(part => 'memory'.includes(part))) return memory;
  const session = await page.context().newCDPSession(page);
  await page.exposeFunction('benchHeap', async () => {
    await session.send('HeapProfiler.collectGarbage');
    await session.send('HeapProfiler.collectGarbage');
    return (await session.send('Runtime.getHeapUsage')).usedSize;
  });
  for (const engine of engines) {
    say(`memory: ${engine}`);
    await load();
    await page.waitForFunction(() => typeof globalThis.benchMemory === 'function');
    memory[engine] = await page.evaluate(([name, rows]) => globalThis.benchMemory(name, rows), [engine, issues]);
  }
  return memory;
}

function writeReadme(figures, answer, { rounds, repeats, issues }, version) {
  const path = join(here, 'README.md');
  const text = readFileSync(path, 'utf8');
  const [head, rest] = text.split(BEGIN);
  const tail = rest?.split(END)[1];
  if (tail === undefined) throw new Refusal(`${path} has lost the marks between which figures are written`);
  const versions = PEERS.map(name => `${name} ${JSON.parse(readFileSync(join(here, 'node_modules', name, 'package.json'), 'utf8')).version}`);
  const stopped = Object.entries(answer).filter(([, its]) => its.stopped).map(([engine, its]) => `${engine} was ${its.stopped}.\n`);
  const machine = `${cpus().length} cores, ${platform()}, Chromium ${version.split('.')[0]} headless`;
  writeFileSync(path, `${head}${BEGIN}
Measured on a machine with ${machine}; ${versions.join(', ')}; ${issues.toLocaleString('en')} issues, ${rounds} rounds, ${repeats} repeats in each.
Median (min–max), and how many times as long as ours.
${stopped.join('')}
${figures}
${END}${tail}`);
  say('bench/README.md is written');
}

await command(async () => {
  const { request, build: builds, write, json } = options();
  installPeers();
  if (builds) buildPackage();
  const files = await bundle(request.profile ? namedModule(out) : join(root, 'js/wasm/landfall_bg.wasm'));
  const opened = await openPage(files);
  try {
    const { page } = opened;
    page.on('pageerror', error => console.error(String(error)));
    page.on('console', message => message.type() === 'error' && console.error(message.text()));
    await page.exposeFunction('benchSay', text => say(text));
    const profiles = request.profile ? await profiler(page, out) : undefined;
    await opened.load();
    await page.waitForFunction(() => typeof globalThis.bench === 'function');
    if (request.clock === 'cpu') await processorClock(page);
    // Memory is asked in pages of its own, below.
    const rounds = request.only.length === 1 && request.only[0] === 'memory' ? 0 : request.rounds;
    const answer = await page.evaluate(it => globalThis.bench(it), { ...request, rounds });
    profiles?.print();
    const memory = request.profile ? {} : await weigh(opened, request);
    const summary = summarize(answer);
    writeFileSync(json, `${JSON.stringify({ request, chromium: opened.version, summary, memory, answer }, null, 1)}\n`);
    console.log(`\n${table(summary, compare(summary))}`);
    if (Object.keys(memory).length) console.log(`\n${memoryTable(memory)}`);
    for (const [engine, { stopped }] of Object.entries(answer)) {
      if (stopped) console.log(`${engine}: ${stopped}`);
    }
    const wrong = disagreements(answer);
    if (wrong.length) throw new Refusal(`the engines do not agree:\n  ${wrong.join('\n  ')}`);
    say('all engines gave the same results');
    if (write) writeReadme(markdown(summary, compare(summary), memory), answer, request, opened.version);
  } finally {
    await opened.close();
  }
});
