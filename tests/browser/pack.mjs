// Packs the npm package and builds the page under test against the packed tarball, as a user's bundler would see it.
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'vite';
import react from '@vitejs/plugin-react';

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, '../..');

/** Makes `site` an application's folder: with `app` in it, the packed package, and other packages from the workspace. */
export function installPacked(site, app, packages) {
  const modules = join(site, 'node_modules');
  mkdirSync(modules, { recursive: true });
  execFileSync('npm', ['pack', '--silent', '--pack-destination', modules], { cwd: join(root, 'js'), stdio: ['ignore', 'ignore', 'inherit'] });
  const tarball = join(modules, readdirSync(modules).find(name => name.endsWith('.tgz')));
  execFileSync('tar', ['-xzf', tarball, '-C', modules]);
  renameSync(join(modules, 'package'), join(modules, 'landfall'));
  rmSync(tarball);
  cpSync(app, site, { recursive: true });
  for (const name of packages) {
    mkdirSync(dirname(join(modules, name)), { recursive: true });
    symlinkSync(join(root, 'node_modules', name), join(modules, name));
  }
}

/** Builds `app/` against the packed package; returns the folder to serve. */
export async function buildPage() {
  const site = join(here, 'dist/site');
  rmSync(join(here, 'dist'), { recursive: true, force: true });
  installPacked(site, join(here, 'app'), ['react', 'react-dom', 'zod', 'scheduler']);
  await build({
    root: site, configFile: false, logLevel: 'warn', plugins: [react()],
    build: {
      outDir: join(here, 'dist/page'), emptyOutDir: true, target: 'es2022', sourcemap: true,
      rolldownOptions: { input: [join(site, 'index.html'), join(site, 'bare.html')] },
    },
  });
  return join(here, 'dist/page');
}
