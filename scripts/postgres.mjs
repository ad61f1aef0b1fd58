// A throw-away Postgres cluster with logical replication, for tests and measurements.
// Shared by `with-postgres.mjs` and the browser tests; nothing of it outlives the caller.
import { execFileSync, spawn } from 'node:child_process';
import {
  chmodSync, chownSync, closeSync, existsSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';

/** The folder of the newest PostgreSQL server binaries, or undefined. */
export function findPostgres() {
  const folders = (process.env.PATH ?? '').split(delimiter);
  const debian = '/usr/lib/postgresql';
  if (existsSync(debian)) {
    const versions = readdirSync(debian).sort((a, b) => Number(b) - Number(a));
    folders.unshift(...versions.map(version => join(debian, version, 'bin')));
  }
  return folders.find(folder => existsSync(join(folder, 'initdb')) && existsSync(join(folder, 'postgres')));
}

/** A TCP port on the loopback interface that was free a moment ago. */
export function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

// Postgres refuses to run as root: then it runs as the `postgres` user, or as nobody.
function unprivilegedUser() {
  if (process.getuid?.() !== 0) return undefined;
  const users = readFileSync('/etc/passwd', 'utf8').split('\n').map(line => line.split(':'));
  const user = users.find(([name]) => name === 'postgres') ?? users.find(([name]) => name === 'nobody');
  if (!user) throw new Error('PostgreSQL cannot run as root, and there is no user "postgres" or "nobody"');
  return { uid: Number(user[2]), gid: Number(user[3]) };
}

/**
 * Makes a certificate for the name `localhost`, the authority that signed it, and one that did not.
 * Undefined without `openssl`; then nothing that needs TLS is tested.
 */
function certificates(folder) {
  const file = name => join(folder, name);
  const openssl = (...args) => execFileSync('openssl', args, { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] });
  const key = name => ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', file(name)];
  try {
    for (const name of ['ca', 'other-ca']) {
      openssl('req', '-x509', ...key(`${name}.key`), '-out', file(`${name}.crt`), '-subj', `/CN=${name}`, '-days', '30');
    }
    openssl('req', ...key('server.key'), '-out', file('server.csr'), '-subj', '/CN=localhost');
    writeFileSync(file('names'), 'subjectAltName=DNS:localhost');
    openssl(
      'x509', '-req', '-in', file('server.csr'), '-CA', file('ca.crt'), '-CAkey', file('ca.key'), '-CAcreateserial',
      '-out', file('server.crt'), '-days', '30', '-extfile', file('names'),
    );
  } catch (error) {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  }
  return { ca: file('ca.crt'), certificate: file('server.crt'), key: file('server.key') };
}

/**
 * Starts a cluster and resolves to `{ url, port, ca, stop, crash, restart }`.
 * `url` names the superuser `dev` and its database `postgres`; connections are on loopback, trusted, but for those of
 * a role `landfall_scram`, which needs its password. `ca` is the file of the authority behind its certificate.
 */
export async function startPostgres() {
  const bin = findPostgres();
  if (!bin) throw new Error('PostgreSQL server binaries were not found: run `npm run setup`');
  const user = unprivilegedUser();
  const folder = mkdtempSync(join(tmpdir(), 'landfall-pg-'));
  chmodSync(folder, 0o700);
  if (user) chownSync(folder, user.uid, user.gid);
  const data = join(folder, 'data');
  const port = await freePort();
  execFileSync(join(bin, 'initdb'), ['-D', data, '-U', 'dev', '-A', 'trust', '-E', 'UTF8', '--locale=C', '--no-sync'], {
    ...user, cwd: folder, stdio: ['ignore', 'ignore', 'pipe'],
  });
  const access = join(data, 'pg_hba.conf');
  writeFileSync(access, `host all landfall_scram 127.0.0.1/32 scram-sha-256\n${readFileSync(access, 'utf8')}`);
  const tls = certificates(folder);
  if (tls && user) for (const file of [tls.certificate, tls.key]) chownSync(file, user.uid, user.gid);
  if (tls) chmodSync(tls.key, 0o600);
  const settings = {
    ...(tls && { ssl: 'on', ssl_cert_file: tls.certificate, ssl_key_file: tls.key }),
    port, listen_addresses: '127.0.0.1', unix_socket_directories: folder,
    wal_level: 'logical', max_replication_slots: 64, max_wal_senders: 64, max_connections: 200,
    wal_sender_timeout: '10s', fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off', timezone: 'UTC',
  };
  const args = ['-D', data, ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])];
  let server;
  // A file, not a pipe: a caller that blocks its event loop would not drain a pipe, and the server would stop in a write.
  const logFile = join(folder, 'log');
  const logTail = () => readFileSync(logFile, 'utf8').slice(-8192);
  const start = async () => {
    const log = openSync(logFile, 'a');
    server = spawn(join(bin, 'postgres'), args, { ...user, cwd: folder, stdio: ['ignore', 'ignore', log] });
    closeSync(log);
    for (let attempt = 0; attempt < 300; attempt++) {
      if (server.exitCode !== null) throw new Error(`postgres stopped with code ${server.exitCode}:\n${logTail()}`);
      try {
        execFileSync(join(bin, 'pg_isready'), ['-q', '-h', '127.0.0.1', '-p', String(port)]);
        return;
      } catch {
        await new Promise(resolve => setTimeout(resolve, 50));
      }
    }
    throw new Error(`postgres did not become ready:\n${logTail()}`);
  };
  const end = signal => new Promise(resolve => {
    if (server.exitCode !== null || server.signalCode !== null) return resolve();
    server.once('exit', () => resolve());
    server.kill(signal);
  });
  const remove = () => rmSync(folder, { recursive: true, force: true });
  process.once('exit', () => { server.kill('SIGQUIT'); remove(); });
  await start();
  return {
    port,
    ca: tls?.ca,
    url: `postgres://dev@127.0.0.1:${port}/postgres`,
    /** Stops the server and removes its files. */
    stop: async () => { await end('SIGINT'); remove(); },
    /** Stops the server as a crash would: no shutdown checkpoint, connections cut. */
    crash: () => end('SIGQUIT'),
    restart: start,
  };
}
