// All tests, in the order in which a failure is cheapest to find. `npm test -- NAME …` runs only the steps whose names contain a NAME.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { buildPackage, buildServer, buildTracker } from './build.mjs';
import { startPostgres } from './postgres.mjs';
import { command, Refusal, root, run, say, setUpToTest, which, withTemporaryFolder } from './tools.mjs';

const CORES = ['landfall-zql', 'landfall-ivm', 'landfall-protocol', 'landfall-store', 'landfall-client'];

const wanted = process.argv.slice(2);
const results = [];
async function step(name, work) {
  if (wanted.length && !wanted.some(part => name.includes(part))) return;
  say(name);
  const start = Date.now();
  try {
    await work();
    results.push({ name, passed: true, seconds: (Date.now() - start) / 1000 });
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    console.error(error.message);
    results.push({ name, passed: false, seconds: (Date.now() - start) / 1000 });
  }
}

/** For steps that are run by themselves: otherwise an earlier one has built it. */
function requireBuiltPackage() {
  if (!['js/dist/index.js', 'js/wasm/landfall_bg.wasm'].every(path => existsSync(join(root, path)))) buildPackage();
}

/** Packages that only one folder of tests needs. */
function requireInstalled(cwd) {
  if (!existsSync(join(cwd, 'node_modules'))) run('npm', ['ci', '--silent', '--ignore-scripts'], { cwd });
}

await command(async () => {
  setUpToTest();
  const postgres = await startPostgres();
  const env = {
    ...process.env,
    LANDFALL_TEST_POSTGRES_URL: postgres.url,
    ...(postgres.ca && { LANDFALL_TEST_POSTGRES_CA: postgres.ca }),
  };
  try {
    await step('architecture', () => run('node', ['scripts/architecture.mjs']));
    await step('licences', () => run('node', ['scripts/licences.mjs']));
    await step('format', () => run('cargo', ['fmt', '--all', '--check']));
    await step('lint', () => run('cargo', ['clippy', '--locked', '--workspace', '--all-targets', '--', '-D', 'warnings']));
    await step('rust', () => run('cargo', ['test', '--locked', '--workspace', '--quiet', '--no-fail-fast'], { env }));
    // What only a feature brings in.
    await step('telemetry', () => run('cargo', ['test', '--locked', '--quiet', '-p', 'landfall-server', '--features', 'opentelemetry', '--test', 'telemetry'], { env }));
    await step('wasm32 cores', () => run('cargo', [
      'check', '--locked', '--target', 'wasm32-unknown-unknown', '--lib', ...CORES.flatMap(name => ['-p', name]),
    ]));
    await step('web', () => withTemporaryFolder(TMPDIR => run('wasm-pack', ['test', '--headless', '--chrome', '--mode', 'no-install', 'crates/web'], {
      env: { ...process.env, TMPDIR, CHROMEDRIVER: which('chromedriver'), WASM_BINDGEN_TEST_TIMEOUT: '120' },
    })));
    await step('package', () => {
      buildPackage();
      run('npm', ['test', '--silent', '-w', 'js'], { env });
      run('npm', ['run', '--silent', 'typecheck', '-w', 'examples/tracker']);
      run('npx', ['tsc', '--noEmit', '-p', 'tests/browser']);
    });
    // The packed package in bundlers, Node and a worker; webpack is installed here only.
    await step('packaging', () => {
      requireBuiltPackage();
      const cwd = join(root, 'tests/packaging');
      requireInstalled(cwd);
      run('npx', ['vitest', 'run'], { cwd });
    });
    await step('browser', () => {
      const binary = buildServer({ release: false });
      buildTracker();
      run('npm', ['test', '--silent', '-w', 'examples/tracker'], { env });
      run('npx', ['vitest', 'run'], { cwd: join(root, 'tests/browser'), env: { ...env, LANDFALL_SERVER_BINARY: binary } });
    });
    // The npm package @rocicorp/zero as the client of our server, and as the server of our client; installed here only, as it is large.
    await step('interop', () => {
      requireBuiltPackage();
      const binary = buildServer({ release: false });
      const cwd = join(root, 'tests/interop');
      requireInstalled(cwd);
      run('npm', ['test', '--silent'], { cwd, env: { ...env, LANDFALL_SERVER_BINARY: binary } });
    });
  } finally {
    await postgres.stop();
  }
  console.log();
  for (const { name, passed, seconds } of results) {
    console.log(`${passed ? '✓' : '✗'} ${name.padEnd(16)} ${seconds.toFixed(0).padStart(5)} s`);
  }
  const failed = results.filter(result => !result.passed).length;
  console.log(`${results.length - failed} passed, ${failed} failed`);
  if (failed) process.exit(1);
});
