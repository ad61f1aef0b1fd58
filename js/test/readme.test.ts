import {mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {dirname, join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {afterEach, expect, test} from 'vitest';
import {runTsc} from './run-tsc.js';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) {
    rmSync(folder, {recursive: true});
  }
});

/** The programs in a text: each block of code whose first line is a comment with a file name. */
function programs(markdown: string): {readonly name: string; readonly code: string}[] {
  const blocks = markdown.matchAll(/^```tsx?\n(\/\/ (\S+\.tsx?)\n[\s\S]*?)^```$/gm);
  return [...blocks].map(([, code, name]) => ({name: name as string, code: code as string}));
}

/** Compiles programs as an application that has this package would. */
async function compile(files: ReturnType<typeof programs>): Promise<string> {
  const folder = mkdtempSync(join(root, '.sample-'));
  folders.push(folder);
  for (const {name, code} of files) {
    mkdirSync(dirname(join(folder, name)), {recursive: true});
    writeFileSync(join(folder, name), code);
  }
  const tsconfig = {
    extends: '../tsconfig.json',
    compilerOptions: {
      rootDir: '..',
      noEmit: true,
      noUnusedLocals: false,
      paths: Object.fromEntries([
        ...['', '/react', '/solid', '/server'].map(entry => [`landfall${entry}`, [`../src${entry}/index.ts`]]),
        ['landfall/server/adapters/*', ['../src/server/adapters/*.ts']],
      ]),
    },
    include: ['**/*'],
    exclude: [],
  };
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(tsconfig));
  const said = await runTsc(['-p', folder]);
  // What is wrong in the package itself is for other checks to say.
  return said
    .split('\n')
    .filter(line => files.some(({name}) => line.includes(name)))
    .join('\n');
}

const readmes: readonly (readonly [file: string, programs: readonly string[]])[] = [
  ['README.md', ['schema.ts', 'shared.ts', 'app.tsx']],
  ['../README.md', ['schema.ts', 'main.tsx']],
];

test.each(readmes)('the programs in %s compile', async (file, names) => {
  const files = programs(readFileSync(join(root, file), 'utf8'));
  expect(files.map(({name}) => name)).toEqual(names);
  expect(await compile(files)).toBe('');
}, 60_000);

const guides: readonly (readonly [guide: string, programs: readonly string[]])[] = [
  ['start', ['schema.ts', 'shared.ts', 'App.tsx', 'main.tsx']],
  ['queries', ['schema.ts', 'asking.ts', 'queries.ts', 'related.ts', 'pages.ts']],
  ['types', ['schema.ts']],
  ['mutators', ['mutators.ts', 'calling.ts', 'server-mutators.ts']],
  ['auth', ['signed-in.tsx', 'rules.ts']],
  ['frameworks', ['schema.ts', 'react.tsx', 'solid.tsx', 'store.ts', 'changes.ts']],
  ['offline', ['Waiting.tsx', 'vite.config.ts']],
];

test.each(guides)('the programs in the guide "%s" compile', async (guide, names) => {
  const files = programs(readFileSync(join(root, `../www/guide/${guide}.md`), 'utf8'));
  expect(files.map(({name}) => name)).toEqual(names);
  expect(await compile(files)).toBe('');
}, 60_000);

// These go on with the app of "start", whose programs are in `src`.
const continuations: readonly (readonly [guide: string, programs: readonly string[]])[] = [
  ['embedded', ['src/permissions.ts']],
  ['postgres', ['api/endpoints.ts', 'api/server.ts']],
];

test.each(continuations)('the programs in the guide "%s" compile with those of "start"', async (guide, names) => {
  const read = (guide: string) => programs(readFileSync(join(root, `../www/guide/${guide}.md`), 'utf8'));
  const files = read(guide);
  expect(files.map(({name}) => name)).toEqual(names);
  const app = read('start').map(({name, code}) => ({name: `src/${name}`, code}));
  expect(await compile([...app, ...files])).toBe('');
}, 60_000);

test('a program that does not compile is noticed', async () => {
  expect(await compile([{name: 'bad.ts', code: "import {table} from 'landfall';\ntable(3);\n"}])).toContain('bad.ts');
}, 60_000);
