// Builds what `npm start` and the browser tests run: WASM, npm package, server, example.
import { join } from 'node:path';
import { command, root, run, say, setUpToStart, targetFolder } from './tools.mjs';

/** The WebAssembly module, then the npm package around it; prints their sizes. */
export function buildPackage({ dev = false } = {}) {
  say('building the WebAssembly module');
  run('node', ['scripts/build-wasm.mjs', ...(dev ? ['--dev'] : [])]);
  say('building the npm package');
  run('npm', ['run', '--silent', 'build', '-w', 'js']);
}

/** The server; gives the path of the binary. */
export function buildServer({ release = true } = {}) {
  say(`building landfall-server${release ? ' (the first time takes some minutes)' : ''}`);
  run('cargo', ['build', '--locked', '-p', 'landfall-server', ...(release ? ['--release'] : [])]);
  return join(targetFolder(), release ? 'release' : 'debug', 'landfall-server');
}

export function buildTracker(env = {}) {
  say('building examples/tracker');
  run('npm', ['run', '--silent', 'build', '-w', 'examples/tracker'], { env: { ...process.env, ...env } });
}

if (process.argv[1] === join(root, 'scripts/build.mjs')) {
  await command(() => {
    setUpToStart();
    buildPackage();
    buildServer();
    buildTracker();
  });
}
