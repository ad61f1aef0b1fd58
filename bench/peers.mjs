// What is measured against, installed for the benchmarks alone.
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { root, run, say } from '../scripts/tools.mjs';

/** Install scripts are not run: what is native in the peers comes built. */
export function installPeers() {
  const here = join(root, 'bench');
  const installed = join(here, 'node_modules/.package-lock.json');
  if (existsSync(installed) && statSync(join(here, 'package-lock.json')).mtimeMs <= statSync(installed).mtimeMs) return;
  say('installing what is compared with');
  run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'], { cwd: here });
}
