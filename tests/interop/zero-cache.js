// The npm package's zero-cache over a database, as its documentation starts it.
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort } from './landfall-server.js';

const program = fileURLToPath(new URL('node_modules/@rocicorp/zero/out/zero/src/cli.js', import.meta.url));
const sleep = ms => new Promise(resolve => setTimeout(resolve, ms));

export async function startZeroCache(database, endpoint) {
  const folder = mkdtempSync(join(tmpdir(), 'landfall-zero-cache-'));
  // It takes the next port as well.
  const port = await freePort();
  const env = {
    ...process.env, NODE_ENV: 'production', ZERO_UPSTREAM_DB: database.url, ZERO_REPLICA_FILE: join(folder, 'replica.db'), ZERO_PORT: String(port),
    ZERO_QUERY_URL: `${endpoint.url}/query`, ZERO_MUTATE_URL: `${endpoint.url}/mutate`, ZERO_ADMIN_PASSWORD: 'test', ZERO_LOG_LEVEL: 'error',
    ZERO_ENABLE_TELEMETRY: 'false', DO_NOT_TRACK: '1',
  };
  let child;
  let log = '';
  const server = {
    url: `http://127.0.0.1:${port}`,
    log: () => log,
    async start() {
      child = spawn(process.execPath, [program], { env, cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
      for (const stream of [child.stdout, child.stderr]) stream.on('data', chunk => { log += chunk; });
      for (let tries = 0; tries < 1200; tries++) {
        if (child.exitCode !== null) throw new Error(`zero-cache ended with ${child.exitCode}:\n${log}`);
        if (await fetch(`${server.url}/keepalive`).then(answer => answer.ok, () => false)) return;
        await sleep(100);
      }
      throw new Error(`zero-cache does not answer:\n${log}`);
    },
    /** Ends it at once, with its workers. */
    async kill() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const gone = new Promise(resolve => child.once('exit', resolve));
      for (const pid of family(child.pid)) {
        try {
          process.kill(pid, 'SIGKILL');
        } catch (error) {
          if (error.code !== 'ESRCH') throw error;
        }
      }
      await gone;
    },
    async stop() {
      await server.kill();
      rmSync(folder, { recursive: true, force: true });
    },
  };
  await server.start();
  return server;
}

/** A process and all that it has started. */
function family(root) {
  const parents = readdirSync('/proc').filter(name => /^\d+$/.test(name)).flatMap(name => {
    try {
      return [[Number(name), Number(readFileSync(`/proc/${name}/stat`, 'utf8').split(') ').at(-1).split(' ')[1])]];
    } catch (error) {
      // A process may end while it is looked at.
      if (error.code === 'ENOENT' || error.code === 'ESRCH') return [];
      throw error;
    }
  });
  const all = [root];
  for (const pid of all) all.push(...parents.filter(([, parent]) => parent === pid).map(([its]) => its));
  return all;
}
