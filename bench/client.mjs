// Clients side by side in headless Chromium, with storage on disk and a real server: `npm run bench:client -- --help`.
import { parseArgs } from 'node:util';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, platform } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import pg from 'pg';
import { buildPackage, buildServer } from '../scripts/build.mjs';
import { startPostgres } from '../scripts/postgres.mjs';
import { command, Refusal, root, say } from '../scripts/tools.mjs';
import { openProfile } from './chromium.mjs';
import { markdown, table } from './client-figures.mjs';
import { installPeers } from './peers.mjs';
import { namedModule } from './profile.mjs';
import { makeServer } from './servers.mjs';

const here = join(root, 'bench');
const out = join(here, 'dist');
const CLIENTS = ['landfall', 'zero'];
/** Time in ms after which a visit is given up. */
const LIMIT = 180_000;
const BEGIN = '<!-- figures of bench:client: begin -->';
const END = '<!-- figures of bench:client: end -->';
const HELP = `npm run bench:client -- [options]
  --clients a,b   of ${CLIENTS.join(', ')}; both unless given
  --rows a,b      rows that a client holds (10000,100000,180000)
  --visits a,b    of fill, cold, anew, writes, rebase, memory, raw; all unless given, fill is always first
  --throttle a,b  how many times slower the CPU is made (1,4)
  --rounds n      cold starts of each (3)
  --binary path   a landfall-server that is built already
  --no-build      takes js/wasm and js/dist as they are
  --profile       records each visit of ours with names of Rust functions into bench/dist/*.cpuprofile
  --write         puts the table into bench/README.md
  --json file     where the figures go (bench/dist/client.json)`;

function options() {
  const text = fallback => ({ type: 'string', default: fallback });
  const { values } = parseArgs({
    options: {
      clients: text(CLIENTS.join()), rows: text('10000,100000,180000'), visits: text('fill,cold,anew,writes,rebase,memory,raw'), throttle: text('1,4'),
      rounds: text('3'), binary: { type: 'string' }, json: text(join(out, 'client.json')), 'no-build': { type: 'boolean' },
      profile: { type: 'boolean' }, write: { type: 'boolean' }, help: { type: 'boolean' },
    },
  });
  if (values.help) {
    console.log(HELP);
    process.exit(0);
  }
  const list = it => it.split(',').map(part => part.trim()).filter(Boolean);
  const numbers = it => list(it).map(part => {
    const number = Number(part);
    if (!Number.isInteger(number) || number < 1) throw new Refusal(`${part} is not a whole number above 0`);
    return number;
  });
  const clients = list(values.clients);
  const unknown = clients.filter(name => !CLIENTS.includes(name));
  if (unknown.length) throw new Refusal(`no such client: ${unknown.join(', ')}; there are ${CLIENTS.join(', ')}`);
  return {
    clients, rows: numbers(values.rows), visits: list(values.visits), throttle: numbers(values.throttle), rounds: numbers(values.rounds)[0],
    binary: values.binary, build: !values['no-build'], profile: values.profile ?? false, write: values.write ?? false, json: values.json,
  };
}

async function bundle(wasm) {
  mkdirSync(out, { recursive: true });
  const common = { bundle: true, format: 'esm', minify: false, logLevel: 'error' };
  await build({
    ...common, entryPoints: [join(here, 'page/client.ts')], outfile: join(out, 'client-page.js'), target: 'es2022', external: ['node:*'],
    define: { 'process.env.NODE_ENV': '"production"' },
  });
  await build({ ...common, entryPoints: [join(here, 'client-api.ts')], outfile: join(out, 'client-api.mjs'), platform: 'node', target: 'node20', external: ['pg'] });
  writeFileSync(join(out, 'client.html'), '<!doctype html><meta charset="utf-8"><title>bench</title><script type="module" src="client-page.js"></script>\n');
  return {
    files: { 'page.html': join(out, 'client.html'), 'client-page.js': join(out, 'client-page.js'), 'landfall_bg.wasm': wasm },
    api: await import(pathToFileURL(join(out, 'client-api.mjs')).href),
  };
}

/** One visit in a fresh page, on a CPU that is made slower. */
async function visit(browser, name, its, throttle, profile, touch) {
  return browser.visit(async (page, session) => {
    await page.exposeFunction('benchTouch', touch);
    await page.waitForFunction(() => globalThis.benchVisits);
    if (throttle > 1) await session.send('Emulation.setCPUThrottlingRate', { rate: throttle });
    if (profile) {
      await session.send('Profiler.enable');
      await session.send('Profiler.setSamplingInterval', { interval: 200 });
      await session.send('Profiler.start');
    }
    const late = new Promise((_, reject) => setTimeout(() => reject(new Refusal(`not through after ${LIMIT / 1000} s`)), LIMIT).unref());
    const answer = await Promise.race([page.evaluate(([name, its]) => globalThis.benchVisits[name](its), [name, its]), late]);
    if (profile) {
      const { profile: recorded } = await session.send('Profiler.stop');
      writeFileSync(join(out, `client-${its.client}-${name}-${its.rows}-${throttle}.cpuprofile`), JSON.stringify(recorded));
    }
    return answer;
  });
}

/** All visits of one client with one number of rows. */
async function measure(browser, server, touch, client, rows, request, note) {
  const its = { client, server: server.url.replace('ws:', 'http:'), rows, user: `${client}-${rows}-` };
  // Names that contain no other, as storage is found by them.
  const go = async (name, throttle, store = 'kept') => {
    const user = its.user + store;
    try {
      const answer = await visit(browser, name, { ...its, user }, throttle, request.profile && client === 'landfall', touch);
      console.log(`  ${client}, ${rows} rows, ${name}${throttle > 1 ? `, CPU / ${throttle}` : ''}: ${JSON.stringify(answer)}`);
      note({ client, rows, visit: name, throttle, answer });
    } catch (error) {
      console.error(`  ${client}, ${rows} rows, ${name}, CPU / ${throttle}: ${error.message.split('\n')[0]}\n${server.log()}`);
      note({ client, rows, visit: name, throttle, failure: error.message.split('\n')[0] });
    }
  };
  const wants = name => request.visits.includes(name);
  await go('fill', 1);
  for (const throttle of request.throttle) {
    if (throttle > 1 && wants('fill')) await go('fill', throttle, `slow${throttle}`);
    for (let round = 0; wants('cold') && round < request.rounds; round++) await go('cold', throttle);
    for (let round = 0; wants('anew') && round < request.rounds; round++) await go('anew', throttle);
    if (wants('writes')) await go('writes', throttle);
    // Of a store of its own, in which the writes stay.
    if (wants('rebase')) await go('rebase', throttle, `pending${throttle}`);
  }
  if (wants('memory')) await go('memory', 1);
  if (wants('raw')) await go('raw', 1);
}

function writeReadme(figures, version) {
  const path = join(here, 'README.md');
  const [head, rest] = readFileSync(path, 'utf8').split(BEGIN);
  const tail = rest?.split(END)[1];
  if (tail === undefined) throw new Refusal(`${path} has lost the marks between which figures are written`);
  const zero = JSON.parse(readFileSync(join(here, 'node_modules/@rocicorp/zero/package.json'), 'utf8')).version;
  writeFileSync(path, `${head}${BEGIN}
Measured on a machine with ${cpus().length} cores, ${platform()}, Chromium ${version.split('.')[0]} headless; @rocicorp/zero ${zero}.

${markdown(figures)}
${END}${tail}`);
  say('bench/README.md is written');
}

await command(async () => {
  const request = options();
  installPeers();
  if (request.build) buildPackage();
  const binary = request.binary ?? buildServer();
  if (!existsSync(binary)) throw new Refusal(`${binary} is not there`);
  const { files, api } = await bundle(request.profile ? namedModule(out) : join(root, 'js/wasm/landfall_bg.wasm'));
  const postgres = await startPostgres();
  const figures = [];
  const ending = [() => postgres.stop()];
  try {
    say('making the rows');
    const client = new pg.Client({ connectionString: postgres.url });
    await client.connect();
    ending.unshift(() => client.end());
    await client.query(api.tables(Math.max(...request.rows) / 4));
    const touch = async (title, modified) => {
      await client.query(
        'UPDATE issue SET title = $1, modified = $2::float8 - priority - substr(id, 7)::int WHERE id <= $3', [title, modified, '0000009'],
      );
    };
    const endpoint = await api.startApi(postgres.url);
    ending.unshift(() => endpoint.stop());
    const server = await makeServer('landfall', {
      database: postgres.url, endpoint: `${endpoint.url}/query`, binary, environment: { ZERO_MUTATE_URL: `${endpoint.url}/mutate` },
    });
    ending.unshift(() => server.remove());
    server.start();
    await server.ready();
    const browser = await openProfile(files);
    ending.unshift(() => browser.close());
    for (const rows of request.rows) {
      for (const name of request.clients) {
        say(`${name}, ${rows.toLocaleString('en')} rows`);
        await measure(browser, server, touch, name, rows, request, it => figures.push(it));
      }
    }
    writeFileSync(request.json, `${JSON.stringify({ request, chromium: browser.version, figures }, null, 1)}\n`);
    console.log(`\n${table(figures)}`);
    if (request.write) writeReadme(figures, browser.version);
  } finally {
    for (const end of ending) await end();
  }
});
