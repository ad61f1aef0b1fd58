// `npm start`: builds everything, starts the server and examples/tracker, prints the URL; Ctrl-C stops it all.
// Without settings the server runs in embedded mode on .landfall/tracker.sqlite; DATABASE_URL=postgres://… puts it in front of Postgres.
import { spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, renameSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { buildPackage, buildServer, buildTracker } from './build.mjs';
import { command, Refusal, root, run, say, setUpToStart } from './tools.mjs';

const began = Date.now();
const pagePort = Number(process.env.PORT ?? 5173);
const serverPort = Number(process.env.LANDFALL_PORT ?? 4848);
const databaseUrl = process.env.DATABASE_URL;
const state = join(root, '.landfall');
const tracker = join(root, 'examples/tracker');
const children = [];

function requireFreePort(port, setting) {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', ({ code }) => reject(new Refusal(
      code === 'EADDRINUSE' ? `port ${port} is taken: stop what uses it, or choose another with ${setting}=…` : `port ${port} cannot be used (${code}): choose another with ${setting}=…`,
    )));
    probe.listen(port, '127.0.0.1', () => probe.close(resolve));
  });
}

/** What would stop the server later is said before anything long begins. */
async function requireDatabase(url) {
  const { default: pg } = await import('pg');
  let place;
  try {
    const { host, pathname } = new URL(url);
    place = `${host}${pathname}`;
  } catch {
    throw new Refusal('DATABASE_URL is not a URL: postgres://USER:PASSWORD@HOST:PORT/DATABASE');
  }
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 5000 });
  try {
    await client.connect();
  } catch (error) {
    throw new Refusal(`the database at ${place} cannot be reached: ${error.message || error.code}`);
  }
  try {
    const { rows: [{ wal_level: level }] } = await client.query('SHOW wal_level');
    if (level !== 'logical') {
      throw new Refusal(`the database at ${place} has wal_level=${level}: set wal_level=logical in postgresql.conf and restart it`);
    }
  } finally {
    await client.end();
  }
}

/** Starts a long-running program; resolves when a line of its output matches `ready`. */
function startProgram(name, program, args, { env, ready }) {
  const child = spawn(program, args, { cwd: root, env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  children.push(child);
  return new Promise((resolve, reject) => {
    const last = [];
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on('line', line => {
        last.push(line);
        if (last.length > 5) last.shift();
        console.log(`  ${name} │ ${line}`);
        if (ready.test(line)) resolve();
      });
    }
    child.once('error', error => reject(new Refusal(`${name} could not be started: ${error.message}`)));
    child.once('exit', code => {
      if (stopping) return;
      reject(new Refusal(`${name} stopped with code ${code}${last.length ? `: ${last.at(-1)}` : ''}`));
      void stop(1);
    });
  });
}

let stopping = false;
async function stop(code) {
  if (stopping) return;
  stopping = true;
  await Promise.all(children.filter(child => child.exitCode === null && child.pid).map(child => new Promise(resolve => {
    const force = setTimeout(() => child.kill('SIGKILL'), 8000);
    child.once('exit', () => { clearTimeout(force); resolve(); });
    child.kill('SIGTERM');
  })));
  process.exit(code);
}
process.on('SIGINT', () => { console.log(); say('stopping'); void stop(0); });
process.on('SIGTERM', () => void stop(0));

async function seedEmbedded(server, database) {
  if (existsSync(database)) return;
  say('seeding .landfall/tracker.sqlite');
  const fresh = `${database}.new`;
  const sql = `${database}.sql`;
  for (const suffix of ['', '-wal', '-shm']) rmSync(fresh + suffix, { force: true });
  const out = openSync(sql, 'w');
  run('node', ['examples/tracker/dist-node/seed-sqlite.mjs'], { stdio: ['ignore', out, 'inherit'] });
  closeSync(out);
  const input = openSync(sql, 'r');
  run(server, ['exec', '--db', fresh], { stdio: [input, 'ignore', 'inherit'] });
  closeSync(input);
  rmSync(sql);
  // Only a complete database gets the name.
  renameSync(fresh, database);
}

await command(async () => {
  setUpToStart();
  await requireFreePort(pagePort, 'PORT');
  await requireFreePort(serverPort, 'LANDFALL_PORT');
  if (databaseUrl) await requireDatabase(databaseUrl);

  buildPackage();
  const server = buildServer();
  buildTracker();
  run('node', ['examples/tracker/build-api.mjs']);
  mkdirSync(state, { recursive: true });

  try {
    if (databaseUrl) {
      const apiPort = Number(process.env.TRACKER_API_PORT ?? 4850);
      await requireFreePort(apiPort, 'TRACKER_API_PORT');
      say('seeding the database (skipped if it has the tables already)');
      run('node', ['examples/tracker/dist-node/seed-postgres.mjs']);
      await startProgram('api   ', 'node', ['examples/tracker/dist-node/api.mjs'], {
        env: { TRACKER_API_PORT: String(apiPort) }, ready: /api ready on/,
      });
      await startProgram('server', server, [], {
        env: {
          LANDFALL_UPSTREAM_DB: databaseUrl,
          LANDFALL_REPLICA_FILE: join(state, 'replica.sqlite'),
          LANDFALL_PORT: String(serverPort),
          LANDFALL_QUERY_URL: `http://127.0.0.1:${apiPort}/api/query`,
          LANDFALL_MUTATE_URL: `http://127.0.0.1:${apiPort}/api/mutate`,
          LANDFALL_DEV: process.env.LANDFALL_DEV ?? 'true',
        },
        ready: /landfall-server ready on/,
      });
    } else {
      const database = join(state, 'tracker.sqlite');
      await seedEmbedded(server, database);
      const permissions = join(state, 'permissions.json');
      run('node', ['examples/tracker/dist-node/permissions.mjs', permissions]);
      await startProgram('server', server, [], {
        env: {
          LANDFALL_UPSTREAM_DB: database,
          LANDFALL_PORT: String(serverPort),
          LANDFALL_PERMISSIONS: permissions,
          LANDFALL_DEV: process.env.LANDFALL_DEV ?? 'true',
        },
        ready: /landfall-server ready on/,
      });
    }
    await startProgram('page  ', join(root, 'node_modules/.bin/vite'), [
      'preview', tracker, '--port', String(pagePort), '--strictPort', '--host', '127.0.0.1',
    ], { env: { LANDFALL_URL: `http://127.0.0.1:${serverPort}` }, ready: /https?:\/\// });
  } catch (error) {
    console.error(error instanceof Refusal ? `\x1b[31m✗ ${error.message}\x1b[0m` : error);
    await stop(1);
    return;
  }
  say(`the tracker is at http://127.0.0.1:${pagePort}/ (${((Date.now() - began) / 1000).toFixed(0)} s). Ctrl-C stops everything.`);
});
