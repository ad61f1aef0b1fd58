// Real parts for the browser tests: Postgres, landfall-server, the app's endpoint, a static file server, Chromium.
// Everything listens on free loopback ports and ends with the test that started it.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { type AddressInfo, connect, createServer as createTcpServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { extname, join, normalize } from 'node:path';
import pg from 'pg';
import { type BrowserContext, type CDPSession, chromium, type Page } from 'playwright-core';
import { findChromium, root } from '../../scripts/tools.mjs';

const serverBinary = process.env.LANDFALL_SERVER_BINARY ?? join(root, 'target/debug/landfall-server');

/** How long anything is waited for: the machine may be slow, and busy with other things. */
const PATIENCE_MS = 120_000;

/** Waits until `check` gives something true. */
export async function until<T>(what: string, check: () => Promise<T> | T, limitMs = PATIENCE_MS): Promise<NonNullable<T>> {
  const end = Date.now() + limitMs;
  for (;;) {
    const value = await check();
    if (value) return value;
    if (Date.now() > end) throw new Error(`not within ${limitMs} ms: ${what}`);
    await new Promise(resolve => setTimeout(resolve, 20));
  }
}

export const folder = () => mkdtempSync(join(tmpdir(), 'landfall-test-'));

/** A new, empty database in the cluster that LANDFALL_TEST_POSTGRES_URL names. */
export async function createDatabase(): Promise<{ url: string; sql: InstanceType<typeof pg.Pool>; drop(): Promise<void> }> {
  const cluster = process.env.LANDFALL_TEST_POSTGRES_URL;
  if (!cluster) throw new Error('run through `npm test`, or `node scripts/with-postgres.mjs -- npx vitest run` in tests/browser');
  const name = `browser_${process.pid}_${Date.now().toString(36)}_${Math.floor(Math.random() * 1e6)}`;
  const admin = new pg.Client({ connectionString: cluster });
  await admin.connect();
  await admin.query(`CREATE DATABASE "${name}"`);
  const url = new URL(cluster);
  url.pathname = `/${name}`;
  const sql = new pg.Pool({ connectionString: url.href, max: 4 });
  return {
    url: url.href,
    sql,
    drop: async () => {
      // A pool has ended before its connections are closed; one that is cut off meanwhile throws an error that nobody catches.
      await sql.end();
      await until('nobody is connected', async () => {
        const { rows } = await admin.query('SELECT pid FROM pg_stat_activity WHERE datname = $1', [name]);
        return rows.length === 0;
      });
      await admin.query('SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = $1', [name]);
      await admin.query(`DROP DATABASE "${name}" WITH (FORCE)`);
      await admin.end();
    },
  };
}

export class LandfallServer {
  #process: ChildProcess | undefined;
  #log = '';
  port = 0;

  readonly settings: Readonly<Record<string, string>>;

  constructor(settings: Readonly<Record<string, string>>) {
    this.settings = settings;
  }

  get url(): string { return `http://127.0.0.1:${this.port}`; }
  get log(): string { return this.#log; }

  /** Starts it unless it runs; again on the same port after a stop or kill. */
  async start(): Promise<this> {
    if (this.#process?.exitCode === null) return this;
    const child = spawn(serverBinary, [], {
      env: { PATH: process.env.PATH, RUST_BACKTRACE: '1', RUST_LOG: 'info', LANDFALL_PORT: String(this.port), ...this.settings },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#process = child;
    const note = (text: Buffer) => { this.#log = (this.#log + text).slice(-200_000); };
    let ready = '';
    child.stdout.on('data', (text: Buffer) => { ready += text; note(text); });
    child.stderr.on('data', note);
    await until(`landfall-server is ready\n${this.#log}`, () => {
      if (child.exitCode !== null) throw new Error(`landfall-server stopped with ${child.exitCode}:\n${this.#log}`);
      const port = /ready on http:\/\/[^:]+:(\d+)/.exec(ready)?.[1];
      if (port) this.port = Number(port);
      return port;
    }, 60_000);
    return this;
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (!child || child.exitCode !== null) return;
    const gone = new Promise(resolve => child.once('exit', resolve));
    child.kill(signal);
    await gone;
  }

  stop(): Promise<void> { return this.#end('SIGTERM'); }
  kill(): Promise<void> { return this.#end('SIGKILL'); }
}

/** Runs SQL on an embedded database as a process of its own, as another program would; gives the last statement's rows. */
export function executeOnFile(database: string, sql: string): unknown[] {
  const done = spawnSync(serverBinary, ['exec', '--db', database], { input: sql, encoding: 'utf8', maxBuffer: 1 << 28 });
  if (done.status !== 0) throw new Error(`landfall-server exec: ${done.stderr}${done.stdout}`);
  return done.stdout.trim() ? JSON.parse(done.stdout) : [];
}

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.wasm': 'application/wasm', '.svg': 'image/svg+xml',
  '.json': 'application/json', '.webmanifest': 'application/manifest+json', '.png': 'image/png',
};

/** Serves a folder; unknown paths without an extension give index.html. */
export async function serveFolder(site: string, headers: Readonly<Record<string, string>> = {}): Promise<{ url: string; close(): Promise<void> }> {
  const server = createServer(async (request, response) => {
    const path = normalize(decodeURIComponent(new URL(request.url ?? '/', 'http://site').pathname));
    const wanted = join(site, path);
    const file = extname(path) && existsSync(wanted) ? wanted : extname(path) ? undefined : join(site, 'index.html');
    if (!file?.startsWith(site)) {
      response.writeHead(404).end();
      return;
    }
    response.writeHead(200, { 'content-type': TYPES[extname(file)] ?? 'application/octet-stream', 'cache-control': 'no-store', ...headers });
    response.end(await readFile(file));
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: async () => {
      server.closeAllConnections();
      await new Promise(resolve => server.close(resolve));
    },
  };
}

/** A line to a port over which so many bytes a second go up; `connections` counts those that were made. */
export async function slowUplink(port: number, bytesPerSecond: number): Promise<{ url: string; connections(): number; close(): Promise<void> }> {
  const open = new Set<Socket>();
  let connections = 0;
  const server = createTcpServer(async near => {
    connections += 1;
    const far = connect(port, '127.0.0.1');
    for (const [end, other] of [[near, far], [far, near]] as const) {
      open.add(end);
      end.on('error', () => other.destroy());
      end.on('close', () => { open.delete(end); other.destroy(); });
    }
    far.pipe(near);
    try {
      // When the line is free again.
      let free = 0;
      for await (const bytes of near) {
        far.write(bytes);
        free = Math.max(free, performance.now()) + bytes.length / bytesPerSecond * 1000;
        await new Promise(resolve => setTimeout(resolve, free - performance.now()));
      }
    } catch {
      // It broke off; the other end was told above.
    }
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    connections: () => connections,
    close: async () => {
      for (const socket of open) socket.destroy();
      await new Promise(resolve => server.close(resolve));
    },
  };
}

const CHROMIUM_FLAGS = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage', '--disable-extensions', '--mute-audio',
];

/** A Chromium process with a profile of its own, which survives `kill` for a later `start`. */
export class Chromium {
  readonly profile = folder();
  #process: ChildProcess | undefined;
  #context: BrowserContext | undefined;
  readonly problems: string[] = [];

  async start(): Promise<this> {
    const portFile = join(this.profile, 'DevToolsActivePort');
    rmSync(portFile, { force: true });
    const binary = findChromium();
    if (!binary) throw new Error('Chromium was not found: run `npm run setup`');
    // A process group of its own: a kill takes the renderers along, as a crash of the machine would.
    this.#process = spawn(binary, [...CHROMIUM_FLAGS, '--remote-debugging-port=0', `--user-data-dir=${this.profile}`, 'about:blank'], {
      // What it leaves behind when it is killed goes with the profile.
      stdio: 'ignore', detached: true, env: { ...process.env, TMPDIR: this.profile },
    });
    const port = await until('Chromium listens', () => {
      if (this.#process?.exitCode != null) throw new Error(`Chromium stopped with ${this.#process.exitCode}`);
      return existsSync(portFile) ? readFileSync(portFile, 'utf8').split('\n')[0] : undefined;
    });
    const browser = await chromium.connectOverCDP(`http://127.0.0.1:${port}`);
    this.#context = browser.contexts()[0];
    return this;
  }

  /** Opens a page; `prepare` is called before it loads anything. */
  async page(url: string, prepare?: (page: Page) => Promise<void>): Promise<Page> {
    const page = await this.#context!.newPage();
    page.setDefaultTimeout(PATIENCE_MS);
    await prepare?.(page);
    page.on('pageerror', error => this.problems.push(String(error)));
    page.on('console', message => {
      if (message.type() === 'error') this.problems.push(message.text());
    });
    await page.goto(url);
    return page;
  }

  /** Opens a page in a private window of its own. */
  async privatePage(url: string): Promise<Page> {
    const context = await this.#context!.browser()!.newContext();
    const page = await context.newPage();
    page.setDefaultTimeout(PATIENCE_MS);
    await page.goto(url);
    return page;
  }

  /** No network at all for the pages of this browser; connections that are open stay open. */
  setOffline(offline: boolean): Promise<void> { return this.#context!.setOffline(offline); }

  /** A session of the developer tools with the browser. */
  browserDevtools(): Promise<CDPSession> { return this.#context!.browser()!.newBrowserCDPSession(); }

  /** A session of the developer tools with one page. */
  devtools(page: Page): Promise<CDPSession> { return this.#context!.newCDPSession(page); }

  /** The page's process ends as if it had crashed; nothing in it runs again. */
  async crash(page: Page): Promise<void> {
    const gone = new Promise(resolve => page.once('crash', resolve));
    // It is not answered.
    void this.devtools(page).then(session => session.send('Page.crash')).catch(() => {});
    await gone;
  }

  /** Nothing in the page runs until the function that is returned is called; something has to run to be stopped. */
  async freeze(page: Page): Promise<() => Promise<void>> {
    const session = await this.devtools(page);
    await session.send('Debugger.enable');
    const paused = new Promise(resolve => session.once('Debugger.paused', resolve));
    await session.send('Debugger.pause');
    await paused;
    return async () => {
      await session.send('Debugger.resume');
      await session.send('Debugger.disable');
    };
  }

  /** SIGKILL to the browser and all of its processes. */
  async kill(): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (!child?.pid || child.exitCode !== null) return;
    const gone = new Promise(resolve => child.once('exit', resolve));
    process.kill(-child.pid, 'SIGKILL');
    await gone;
  }

  async close(): Promise<void> {
    await this.kill();
    rmSync(this.profile, { recursive: true, force: true, maxRetries: 5 });
  }
}
