// landfall-server over a database of its own, in the Postgres that LANDFALL_TEST_POSTGRES_URL names.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import postgres from 'postgres';

const POSTGRES = process.env.LANDFALL_TEST_POSTGRES_URL;
const BINARY = process.env.LANDFALL_SERVER_BINARY;
if (!POSTGRES || !BINARY) throw new Error('LANDFALL_TEST_POSTGRES_URL and LANDFALL_SERVER_BINARY must be set');

/** A TCP port on the loopback interface that was free a moment ago. */
export const freePort = () => new Promise((resolve, reject) => {
  const probe = createServer().once('error', reject);
  probe.listen(0, '127.0.0.1', () => { const { port } = probe.address(); probe.close(() => resolve(port)); });
});

export async function makeDatabase(tables) {
  const admin = postgres(POSTGRES, { max: 1, onnotice: () => {} });
  const name = `interop_${Math.random().toString(36).slice(2)}`;
  await admin.unsafe(`CREATE DATABASE ${name}`);
  const url = new URL(POSTGRES);
  url.pathname = `/${name}`;
  const sql = postgres(url.href, { onnotice: () => {} });
  await sql.unsafe(tables);
  return {
    sql, url: url.href,
    async drop() {
      await sql.end();
      for (let attempt = 0; attempt < 50; attempt++) {
        await admin.unsafe(`SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = '${name}' AND NOT active`);
        try { await admin.unsafe(`DROP DATABASE ${name} WITH (FORCE)`); break; } catch { await new Promise(resolve => setTimeout(resolve, 100)); }
      }
      await admin.end();
    },
  };
}

/** The environment is that of a zero-cache deployment; only the program is another. */
export async function startServer(database, endpoint) {
  const folder = mkdtempSync(join(tmpdir(), 'landfall-interop-'));
  const port = await freePort();
  const env = {
    ...process.env, ZERO_UPSTREAM_DB: database.url, ZERO_REPLICA_FILE: join(folder, 'replica.db'), ZERO_PORT: String(port),
    ZERO_QUERY_URL: `${endpoint.url}/query`, ZERO_MUTATE_URL: `${endpoint.url}/mutate`,
  };
  let child;
  const server = {
    url: `http://127.0.0.1:${port}`,
    async start() {
      child = spawn(BINARY, [], { env, stdio: ['ignore', 'pipe', 'pipe'] });
      let log = '';
      child.stderr.on('data', chunk => { log += chunk; });
      await new Promise((resolve, reject) => {
        child.stdout.on('data', chunk => { if (String(chunk).includes('ready')) resolve(); });
        child.once('exit', code => reject(new Error(`landfall-server ended with ${code}:\n${log}`)));
      });
      server.log = () => log;
    },
    async kill(signal = 'SIGKILL') {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = new Promise(resolve => child.once('exit', resolve));
      child.removeAllListeners('exit');
      child.once('exit', () => {});
      child.kill(signal);
      await Promise.race([ended, new Promise(resolve => child.once('exit', resolve))]);
    },
    async stop() {
      await server.kill('SIGTERM');
      rmSync(folder, { recursive: true, force: true });
    },
  };
  await server.start();
  return server;
}
