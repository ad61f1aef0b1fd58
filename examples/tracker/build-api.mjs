// Bundles what of the tracker runs in Node, since Node 20 reads no TypeScript: `node examples/tracker/build-api.mjs`.
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const here = path => fileURLToPath(new URL(path, import.meta.url));

await build({
  entryPoints: {
    api: here('api/server.ts'),
    permissions: here('shared/print-permissions.ts'),
    'seed-postgres': here('seed/postgres.ts'),
    'seed-sqlite': here('seed/sqlite.ts'),
  },
  outdir: here('dist-node'),
  outExtension: { '.js': '.mjs' },
  // The package is taken from its sources, so that nothing has to be built before.
  alias: {
    landfall: here('../../js/src/index.ts'),
    'landfall/server': here('../../js/src/server/index.ts'),
    'landfall/server/adapters/pg': here('../../js/src/server/adapters/pg.ts'),
    'landfall/permissions': here('../../js/src/permissions/write-permissions.ts'),
  },
  external: ['pg', '*/wasm/landfall.js'],
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node20',
  sourcemap: 'linked',
  legalComments: 'none',
  logLevel: 'warning',
});
