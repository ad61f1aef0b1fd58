import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import react from '@vitejs/plugin-react';
import { defineConfig, type Plugin } from 'vite';

/** Writes `sw.js` from src/service-worker.js with the list of built files, so that the first visit is enough to work offline. */
function serviceWorker(): Plugin {
  return {
    name: 'tracker-service-worker',
    apply: 'build',
    generateBundle(_options, bundle) {
      const files = Object.keys(bundle).filter(name => name !== 'index.html').map(name => `/${name}`).sort();
      const precached = ['/', '/manifest.webmanifest', '/icon.svg', '/icon-192.png', '/icon-512.png', ...files];
      const version = createHash('sha256').update(JSON.stringify(precached)).digest('hex').slice(0, 12);
      const source = readFileSync(fileURLToPath(new URL('src/service-worker.js', import.meta.url)), 'utf8')
        .replace('__PRECACHED__', JSON.stringify(precached))
        .replace('__VERSION__', JSON.stringify(version));
      this.emitFile({ type: 'asset', fileName: 'sw.js', source });
    },
  };
}

// The page and the sync server share one origin: in production a reverse proxy does what `proxy` does here.
const proxy = { '/sync': { target: process.env.LANDFALL_URL ?? 'http://127.0.0.1:4848', ws: true } };

export default defineConfig({
  plugins: [react(), serviceWorker()],
  build: { target: 'es2022', sourcemap: true },
  server: { proxy },
  preview: { proxy },
});
