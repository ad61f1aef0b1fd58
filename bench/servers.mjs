// The servers that `bench:server` compares: how each is started on a database, and the endpoint that both ask for queries.
import { spawn } from 'node:child_process';
import { createServer } from 'node:http';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from '../scripts/postgres.mjs';
import { Refusal, root } from '../scripts/tools.mjs';

const zeroCache = join(root, 'bench/node_modules/@rocicorp/zero/out/zero/src/cli.js');

/** The app's query endpoint: issues in which a column has a value. */
export async function startEndpoint() {
  const ast = ({ column, value, above }) => ({
    table: 'issue',
    where: {
      type: 'and',
      conditions: [
        { type: 'simple', op: '=', left: { type: 'column', name: column }, right: { type: 'literal', value } },
        { type: 'simple', op: '>', left: { type: 'column', name: 'rank' }, right: { type: 'literal', value: above } },
      ],
    },
    orderBy: [['id', 'asc']],
  });
  const server = createServer(async (request, response) => {
    let text = '';
    for await (const chunk of request) text += chunk;
    const [, asked] = JSON.parse(text);
    const queries = asked.map(({ id, name, args: [argument] }) => ({ id, name, ast: ast(argument) }));
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ kind: 'QueryResponse', queries }));
  });
  server.keepAliveTimeout = 60_000;
  await new Promise(resolve => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}/query`,
    stop() {
      server.closeAllConnections();
      server.close();
    },
  };
}

const PROGRAMS = {
  landfall: ({ binary }) => [binary, []],
  zero: () => [process.execPath, [zeroCache]],
};
export const SERVERS = Object.keys(PROGRAMS);

// Ended by a signal, the command takes its servers with it.
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1));

/** A process and all that it has started. */
function family(root) {
  const children = new Map();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const parent = Number(readFileSync(`/proc/${name}/stat`, 'utf8').split(') ').at(-1).split(' ')[1]);
      children.set(parent, [...(children.get(parent) ?? []), Number(name)]);
    } catch (error) {
      // A process may end while it is looked at.
      if (error.code !== 'ENOENT' && error.code !== 'ESRCH') throw error;
    }
  }
  const all = [root];
  for (const pid of all) all.push(...(children.get(pid) ?? []));
  return all;
}

/** A server with files of its own, started and stopped at will. The environment is the same for all: Zero's names. */
export async function makeServer(name, { database, endpoint, binary, logLevel = 'error', environment = {} }) {
  const folder = mkdtempSync(join(tmpdir(), `landfall-bench-${name}-`));
  const port = await freePort();
  const [program, args] = PROGRAMS[name]({ binary });
  const env = {
    ...process.env, NODE_ENV: 'production', ZERO_UPSTREAM_DB: database, ZERO_REPLICA_FILE: join(folder, 'replica.db'), ZERO_PORT: String(port),
    ZERO_QUERY_URL: endpoint, ZERO_ADMIN_PASSWORD: 'bench', ZERO_LOG_LEVEL: logLevel, ZERO_ENABLE_TELEMETRY: 'false', DO_NOT_TRACK: '1',
    ...environment,
  };
  let child;
  let log = '';
  // Zero's workers are not all in the group of the process that was started.
  const killAll = pids => {
    for (const pid of pids) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch (error) {
        if (error.code !== 'ESRCH') throw error;
      }
    }
  };
  const ended = () => child.exitCode !== null || child.signalCode !== null;
  const end = async signal => {
    if (!child || ended()) return;
    const gone = new Promise(resolve => child.once('exit', resolve));
    const all = family(child.pid);
    process.kill(child.pid, signal);
    const late = setTimeout(() => killAll(all), 20_000);
    await gone;
    clearTimeout(late);
    killAll(all.slice(1));
  };
  process.once('exit', () => {
    if (child && !ended()) killAll(family(child.pid));
    rmSync(folder, { recursive: true, force: true });
  });
  return {
    name, folder,
    replica: join(folder, 'replica.db'),
    url: `ws://127.0.0.1:${port}`,
    pid: () => child.pid,
    log: () => log.slice(-4000),
    start() {
      child = spawn(program, args, { env, cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
      for (const stream of [child.stdout, child.stderr]) stream.on('data', chunk => { log = (log + chunk).slice(-100_000); });
      child.once('error', error => { log += error.message; });
    },
    /** Resolves when it answers on its port. */
    async ready(limitMs = 120_000) {
      const url = new URL('/keepalive', `http://127.0.0.1:${port}`);
      for (const late = Date.now() + limitMs; Date.now() < late;) {
        if (ended()) throw new Refusal(`${name} has ended:\n${log}`);
        if (await fetch(url).then(answer => answer.ok, () => false)) return;
        await new Promise(resolve => setTimeout(resolve, 50));
      }
      throw new Refusal(`${name} does not answer within ${limitMs} ms:\n${log}`);
    },
    alive: () => child && !ended(),
    stop: () => end('SIGTERM'),
    kill: () => end('SIGKILL'),
    async remove() {
      await end('SIGKILL');
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Fails with what the server has said last when `work` fails. */
export async function withLog(server, work) {
  try {
    return await work();
  } catch (error) {
    const said = server.log().trim();
    throw new Refusal(`${server.name}: ${error.message}${server.alive() ? '' : ' (the server has ended)'}${said ? `\n${said}` : ''}`);
  }
}
