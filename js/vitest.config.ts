import {createRequire} from 'node:module';
import {dirname, join} from 'node:path';
import {defineConfig} from 'vitest/config';

// What Node is given of Solid is its build for servers, where nothing reacts.
const solid = dirname(createRequire(import.meta.url).resolve('solid-js/package.json'));

export default defineConfig({
  resolve: {
    alias: [
      {find: /^solid-js$/, replacement: join(solid, 'dist/solid.js')},
      {find: /^solid-js\/(store|web)$/, replacement: join(solid, '$1/dist/$1.js')},
    ],
  },
  test: {
    // Machines may be slow and busy.
    testTimeout: 60_000,
    include: ['test/**/*.test.{ts,tsx}', 'src/**/*.test.{ts,tsx}'],
    server: {deps: {inline: [/solid-js/]}},
  },
});
