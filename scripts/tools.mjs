// What the commands need on the machine: finds it, installs it where that is possible, and says in one line what to do where it is not.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findPostgres } from './postgres.mjs';

export const root = resolve(fileURLToPath(import.meta.url), '../..');
const tools = join(root, '.tools');

/** Must equal the `wasm-bindgen` version that Cargo.toml pins: CLI and library have to match exactly. */
export const WASM_BINDGEN = '0.2.130';
const WASM_PACK = '0.15.1';

// What the project's own tools install is found by everything that is started from here.
process.env.PATH = [join(tools, 'bin'), join(root, 'node_modules/.bin'), process.env.PATH].join(delimiter);

/** An error whose message is meant for the person at the terminal: it is printed without a stack. */
export class Refusal extends Error {}

export function say(text) {
  console.log(`\x1b[1m▸ ${text}\x1b[0m`);
}

/** Runs `main`; a Refusal becomes one line and exit code 1, anything else keeps its stack. */
export async function command(main) {
  try {
    await main();
  } catch (error) {
    console.error(error instanceof Refusal ? `\x1b[31m✗ ${error.message}\x1b[0m` : error);
    process.exit(1);
  }
}

/** Runs a program in the project's folder with its output shown; a failure is a Refusal that names it. */
export function run(program, args, options = {}) {
  const done = spawnSync(program, args, { cwd: root, stdio: 'inherit', ...options });
  if (done.error) throw new Refusal(`${program} could not be started: ${done.error.message}`);
  if (done.status !== 0) throw new Refusal(`failed: ${[program, ...args].join(' ')}`);
}

/** What a program prints in the project's folder, or undefined if it fails. */
export function output(program, args) {
  const done = spawnSync(program, args, { cwd: root, encoding: 'utf8' });
  return done.status === 0 ? done.stdout.trim() : undefined;
}

/** Runs `work` with a folder for temporary files, which goes with all that is left in it: browsers that are killed leave some. */
export function withTemporaryFolder(work) {
  const folder = mkdtempSync(join(tmpdir(), 'landfall-'));
  try {
    return work(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** Full path of a program on PATH, or undefined. */
export function which(program) {
  for (const folder of process.env.PATH.split(delimiter)) {
    const path = join(folder, program);
    if (folder && existsSync(path) && statSync(path).isFile()) return path;
  }
  return undefined;
}

export function requireNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major < 20 || (major === 20 && minor < 19)) {
    throw new Refusal(`Node.js 20.19 or newer is needed, this is ${process.versions.node}`);
  }
}

export function requireRust() {
  if (!which('cargo')) throw new Refusal('Rust is needed: install it with rustup (https://rustup.rs), then run this again');
  if (existsSync(join(output('rustc', ['--print', 'sysroot']) ?? '', 'lib/rustlib/wasm32-unknown-unknown/lib'))) return;
  if (!which('rustup')) throw new Refusal('the Rust target wasm32-unknown-unknown is needed: add it to your toolchain');
  say('adding the Rust target wasm32-unknown-unknown');
  run('rustup', ['target', 'add', 'wasm32-unknown-unknown']);
}

/** npm packages as in package-lock.json; quick when they are there already. */
export function requirePackages() {
  const installed = join(root, 'node_modules/.package-lock.json');
  const wanted = [join(root, 'package.json'), join(root, 'package-lock.json')];
  if (existsSync(installed) && wanted.every(file => statSync(file).mtimeMs <= statSync(installed).mtimeMs)) return;
  say('installing npm packages');
  run('npm', ['install', '--no-audit', '--no-fund', '--loglevel=error']);
}

function cargoInstall(crate, version) {
  say(`building ${crate} ${version} into .tools (once, some minutes)`);
  const args = ['install', crate, '--version', version, '--root', tools];
  const locked = spawnSync('cargo', [...args, '--locked'], { cwd: root, stdio: 'inherit' });
  // A registry mirror may lack a version that the crate's lock file names: let cargo choose then.
  if (locked.status !== 0) run('cargo', args);
}

export function requireWasmBindgen() {
  if (output('wasm-bindgen', ['--version'])?.split(' ')[1] !== WASM_BINDGEN) cargoInstall('wasm-bindgen-cli', WASM_BINDGEN);
}

export function requireWasmPack() {
  if (!output('wasm-pack', ['--version'])) cargoInstall('wasm-pack', WASM_PACK);
}

let listsAreFresh = false;
function requireDebian(found, packages, what) {
  if (found()) return;
  const manual = `${what} is needed: install it (on Debian: apt-get install ${packages.join(' ')})`;
  if (process.getuid?.() !== 0 || !which('apt-get')) throw new Refusal(manual);
  say(`installing ${packages.join(', ')}`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  if (!listsAreFresh) run('apt-get', ['update', '-q'], { env });
  listsAreFresh = true;
  run('apt-get', ['install', '-y', '-q', '--no-install-recommends', ...packages], { env });
  if (!found()) throw new Refusal(manual);
}

export const findChromium = () => which('chromium') ?? which('chromium-browser') ?? which('google-chrome');

export function requireChromium() {
  requireDebian(() => findChromium() && which('chromedriver'), ['chromium', 'chromium-driver'], 'Chromium with ChromeDriver');
}

export function requirePostgres() {
  requireDebian(findPostgres, ['postgresql'], 'a PostgreSQL server (15 or newer)');
}

/** A C compiler, for the SQLite that is built into the server. */
export function requireCompiler() {
  requireDebian(() => which('cc'), ['gcc', 'libc6-dev'], 'a C compiler');
}

/** What `npm start` needs. */
export function setUpToStart() {
  requireNode();
  requireCompiler();
  requireRust();
  requirePackages();
  requireWasmBindgen();
}

/** What `npm test` needs in addition. */
export function setUpToTest() {
  setUpToStart();
  requireWasmPack();
  requireChromium();
  requirePostgres();
}

/** The workspace's `cargo metadata`, resolved. */
export function cargoMetadata(...args) {
  const text = execFileSync('cargo', ['metadata', '--format-version', '1', '--locked', ...args], {
    cwd: root, encoding: 'utf8', maxBuffer: 1 << 28,
  });
  return JSON.parse(text);
}

/** Where cargo puts what it builds: its settings may name another place than `target`. */
export const targetFolder = () => cargoMetadata('--no-deps').target_directory;

export const readJson = path => JSON.parse(readFileSync(join(root, path), 'utf8'));
