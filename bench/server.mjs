// Sync servers side by side on one Postgres, under the same load: `npm run bench:server -- --help`.
import { execFile } from 'node:child_process';
import { parseArgs, promisify } from 'node:util';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, platform } from 'node:os';
import { join } from 'node:path';
import { buildServer } from '../scripts/build.mjs';
import { startPostgres } from '../scripts/postgres.mjs';
import { command, Refusal, root, run, say } from '../scripts/tools.mjs';
import { makeTemplate } from './issues.mjs';
import { installPeers } from './peers.mjs';
import { markdown, table } from './server-figures.mjs';
import { makeServer, SERVERS, startEndpoint, withLog } from './servers.mjs';

const here = join(root, 'bench');
const BEGIN = '<!-- figures of bench:server: begin -->';
const END = '<!-- figures of bench:server: end -->';
const HELP = `npm run bench:server -- [options]
  --servers a,b    of ${SERVERS.join(', ')}; all unless given
  --only a,b       only measures whose names contain one of these: start, hydrate, latency, burst, fanout/GROUPS/QUERIES
  --rounds n       fresh databases and servers for each (1)
  --rows n         issues in the database (500000, at least 100000)
  --groups a,b     connected groups of the fan-out (100,1000,10000); only ours gets more than 1,000
  --writes n       writes of each fan-out, ten a second (100)
  --burst n        transactions of the burst (20000)
  --limit n        seconds after which a measure is given up (120)
  --binary path    a landfall-server that is built already
  --load path      a load program that is built already
  --perf           profiles ours with perf during each measure, into bench/dist/*.perf
  --soak minutes   only ours, mixed load for so long
  --with file      takes the figures of servers that are not run from a file that --json has written
  --write          puts the table into bench/README.md
  --json file      where the figures go (bench/dist/server.json)`;

function options() {
  const text = (name, value) => ({ [name]: { type: 'string', ...(value === undefined ? {} : { default: value }) } });
  const { values } = parseArgs({
    options: {
      ...text('servers'), ...text('only'), ...text('rounds', '1'), ...text('rows', '500000'), ...text('groups', '100,1000,10000'),
      ...text('writes', '100'), ...text('burst', '20000'), ...text('limit', '120'), ...text('binary'), ...text('load'), ...text('json'), ...text('soak'), ...text('with'),
      perf: { type: 'boolean' }, write: { type: 'boolean' }, help: { type: 'boolean' },
    },
  });
  if (values.help) {
    console.log(HELP);
    process.exit(0);
  }
  const list = it => it?.split(',').map(part => part.trim()).filter(Boolean);
  const number = (value, least = 1) => {
    const read = Number(value);
    if (!Number.isInteger(read) || read < least) throw new Refusal(`${value} is not a whole number of at least ${least}`);
    return read;
  };
  const servers = list(values.servers) ?? SERVERS;
  const unknown = servers.filter(name => !SERVERS.includes(name));
  if (unknown.length) throw new Refusal(`no such server: ${unknown.join(', ')}; there are ${SERVERS.join(', ')}`);
  return {
    servers, only: list(values.only) ?? [], rounds: number(values.rounds), rows: number(values.rows, 100_000),
    groups: list(values.groups).map(it => number(it)), writes: number(values.writes), burst: number(values.burst), limit: number(values.limit),
    binary: values.binary, load: values.load, perf: values.perf ?? false, write: values.write ?? false, soak: values.soak && number(values.soak),
    earlier: values.with ? JSON.parse(readFileSync(values.with, 'utf8')).figures : {},
    json: values.json ?? join(here, 'dist/server.json'),
  };
}

/** The load program, built in release mode into the folder that cargo uses for the project. */
function buildLoad() {
  say('building the load program');
  run('cargo', ['build', '--locked', '--release', '--quiet'], { cwd: join(here, 'load') });
  return join(process.env.CARGO_TARGET_DIR ?? join(here, 'load/target'), 'release/landfall-load');
}

const sleep = ms => new Promise(resolve => setTimeout(resolve, ms));

/** One server on one database, and the measures that it is asked for. */
class Session {
  constructor(server, database, load, request, figures) {
    Object.assign(this, { server, database, load, request, figures });
  }

  /** Runs a case of the load program against the server. */
  async ask(it) {
    const whole = {
      server: this.server.url, postgres: this.database.url, pid: this.server.pid(), files: [this.server.replica], limit: this.request.limit, ...it,
    };
    try {
      const { stdout } = await promisify(execFile)(this.load, [JSON.stringify(whole)], { maxBuffer: 1 << 26 });
      return JSON.parse(stdout);
    } catch (error) {
      throw new Refusal(`${it.case}: ${error.stderr?.trim() || error.message}`);
    }
  }

  wanted(name) {
    return !this.request.only.length || this.request.only.some(part => name.includes(part));
  }

  /** Runs a measure by name; its failure is a figure as well, and the next measures begin with a server started anew. */
  async measure(name, work) {
    if (!this.wanted(name)) return;
    const stop = this.request.perf && this.server.name === 'landfall' ? perf(this.server.pid(), name) : () => {};
    try {
      const answer = await withLog(this.server, work);
      console.log(`  ${name}: ${JSON.stringify(answer)}`);
      (this.figures[name] ??= []).push(answer);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      console.error(`  ${name}: ${error.message}`);
      (this.figures[name] ??= []).push({ failure: error.message.split('\n')[0] });
      await this.server.kill();
      this.server.start();
      await this.ask({ case: 'ready' });
    } finally {
      await stop();
    }
  }

  async timed(work) {
    const start = performance.now();
    const answer = await work();
    return { ...answer, ms: performance.now() - start };
  }

  startAndAnswer() {
    return this.timed(async () => {
      this.server.start();
      return this.ask({ case: 'ready' });
    });
  }

  async run() {
    const { groups, writes, burst } = this.request;
    const first = await withLog(this.server, () => this.startAndAnswer());
    await sleep(3000);
    const idle = await this.ask({ case: 'memory' });
    await this.measure('start/copy', async () => ({ ...first, idle: idle.memory }));
    await this.measure('start/again', async () => {
      await this.server.stop();
      return this.startAndAnswer();
    });
    for (const [rows, repeats] of [[1, 20], [100, 20], [1000, 10], [10_000, 5]]) {
      await this.measure(`hydrate/${rows}`, () => this.ask({ case: 'hydrate', rows, repeats }));
    }
    await this.measure('latency', () => this.ask({ case: 'fanout', groups: 1, queries: 1, writes: 200, pace: 50 }));
    await this.measure('burst', () => this.ask({ case: 'burst', writes: burst }));
    for (const count of groups) {
      if (count > 1000 && this.server.name !== 'landfall') continue;
      for (const queries of [1, 20]) {
        if (!this.wanted(`fanout/${count}/${queries}`)) continue;
        // Started anew, so that memory is that of these groups.
        await this.server.stop();
        await withLog(this.server, () => this.startAndAnswer());
        await this.measure(`fanout/${count}/${queries}`, () => this.ask({ case: 'fanout', groups: count, queries, writes, pace: 100 }));
      }
    }
  }
}

/** Samples the server's stacks until the function that it gives is called. */
function perf(pid, name) {
  const file = join(here, 'dist', `${name.replaceAll('/', '-')}.perf`);
  const child = execFile('perf', ['record', '-q', '-F', '499', '-g', '--call-graph', 'fp', '-p', String(pid), '-o', file]);
  const gone = new Promise(resolve => {
    child.once('exit', resolve);
    child.once('error', resolve);
  });
  return async () => {
    child.kill('SIGINT');
    await gone;
  };
}

function writeReadme(figures, request) {
  const path = join(here, 'README.md');
  const [head, rest] = readFileSync(path, 'utf8').split(BEGIN);
  const tail = rest?.split(END)[1];
  if (tail === undefined) throw new Refusal(`${path} has lost the marks between which figures are written`);
  const { version } = JSON.parse(readFileSync(join(here, 'node_modules/@rocicorp/zero/package.json'), 'utf8'));
  writeFileSync(path, `${head}${BEGIN}
Measured on a machine with ${cpus().length} cores, ${platform()}, Node ${process.versions.node}; @rocicorp/zero ${version}; ${request.rows.toLocaleString('en')} issues, rounds: ${request.rounds}.
${Object.keys(request.earlier).length ? `Those of ${request.servers.join(', ')} are new, the others are of an earlier run on the same machine.\n` : ''}
${markdown(figures)}
${END}${tail}`);
  say('bench/README.md is written');
}

await command(async () => {
  const request = options();
  if (request.servers.includes('zero')) installPeers();
  const binary = request.binary ?? buildServer();
  if (!existsSync(binary)) throw new Refusal(`${binary} is not there`);
  const load = request.load ?? buildLoad();
  mkdirSync(join(here, 'dist'), { recursive: true });
  const postgres = await startPostgres();
  const endpoint = await startEndpoint();
  const figures = Object.fromEntries(Object.entries(request.earlier).filter(([name]) => !request.servers.includes(name)));
  const session = async (name, work) => {
    const database = await copy();
    const server = await makeServer(name, { database: database.url, endpoint: endpoint.url, binary });
    try {
      await work(new Session(server, database, load, request, figures[name] ??= {}));
    } finally {
      await server.remove();
      await database.drop();
    }
  };
  let copy;
  try {
    say(`making ${request.rows.toLocaleString('en')} issues`);
    copy = await makeTemplate(postgres.url, request.rows);
    if (request.soak) {
      say(`mixed load for ${request.soak} minutes`);
      await session('landfall', async it => {
        await it.startAndAnswer();
        console.log(JSON.stringify(await withLog(it.server, () => it.ask({ case: 'soak', seconds: request.soak * 60 })), undefined, 1));
      });
      return;
    }
    for (let round = 0; round < request.rounds; round++) {
      // Another one goes first each time.
      const order = round % 2 ? [...request.servers].reverse() : request.servers;
      for (const name of order) {
        say(`round ${round + 1}: ${name}`);
        await session(name, it => it.run());
      }
    }
    writeFileSync(request.json, `${JSON.stringify({ request, figures }, null, 1)}\n`);
    console.log(`\n${table(figures)}`);
    if (request.write) writeReadme(figures, request);
  } finally {
    endpoint.stop();
    await postgres.stop();
  }
});
