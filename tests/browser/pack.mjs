// Packs the npm package and builds the page under test against the packed tarball, as a user's bundler would see it.
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'vite';
import react from '@vitejs/plugin-react';

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, '../..');

/** Builds `app/` against the packed package; returns the folder to serve. */
export async function buildPage() {
  const site = join(here, 'dist/site');
  rmSync(join(here, 'dist'), { recursive: true, force: true });
  mkdirSync(join(site, 'node_modules'), { recursive: true });
  execFileSync('npm', ['pack', '--silent', '--pack-destination', join(here, 'dist')], { cwd: join(root, 'js'), stdio: ['ignore', 'ignore', 'inherit'] });
  const tarball = readdirSync(join(here, 'dist')).find(name => name.endsWith('.tgz'));
  execFileSync('tar', ['-xzf', join(here, 'dist', tarball), '-C', join(here, 'dist')]);
  renameSync(join(here, 'dist/package'), join(site, 'node_modules/landfall'));
  cpSync(join(here, 'app'), site, { recursive: true });
  // The page's other packages come from the workspace.
  for (const name of ['react', 'react-dom', 'zod', 'scheduler']) {
    const from = join(root, 'node_modules', name);
    if (existsSync(from)) symlinkSync(from, join(site, 'node_modules', name));
  }
  await build({
    root: site, configFile: false, logLevel: 'warn', plugins: [react()],
    build: { outDir: join(here, 'dist/page'), emptyOutDir: true, target: 'es2022', sourcemap: true },
  });
  return join(here, 'dist/page');
}
