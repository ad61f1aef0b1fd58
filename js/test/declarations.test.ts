import {mkdtempSync, readFileSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {dirname, join, relative} from 'node:path';
import {fileURLToPath} from 'node:url';
import {afterAll, beforeAll, expect, test} from 'vitest';
import {runTsc} from './run-tsc.js';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
let emitted: string;

beforeAll(async () => {
  emitted = mkdtempSync(join(tmpdir(), 'landfall-declarations-'));
  await runTsc(['-p', root, '--emitDeclarationOnly', '--removeComments', '--outDir', emitted]);
}, 60_000);

afterAll(() => rmSync(emitted, {recursive: true}));

/** All declarations that an entry shows, by file. What lies under `core` is nobody's business but the package's own. */
function declarations(entry: string): Map<string, string> {
  const found = new Map<string, string>();
  const visit = (file: string): void => {
    const name = relative(emitted, file);
    if (found.has(name) || name.startsWith('core/') || name.startsWith('..')) {
      return;
    }
    const text = readFileSync(file, 'utf8');
    found.set(name, text);
    for (const [, specifier] of text.matchAll(/from ['"](\.[^'"]+)\.js['"]|import\(['"](\.[^'"]+)\.js['"]\)/g)) {
      if (specifier !== undefined) {
        visit(join(dirname(file), `${specifier}.d.ts`));
      }
    }
  };
  visit(join(emitted, entry));
  return found;
}

function asText(files: Map<string, string>): string {
  const sorted = [...files].sort(([a], [b]) => (a < b ? -1 : 1));
  return sorted.map(([name, text]) => `// ${name}\n${text}`).join('\n');
}

// `npx vitest run test/declarations.test.ts -u` accepts a change.
test('the declarations are as reviewed', async () => {
  const main = declarations('index.d.ts');
  const react = [...declarations('react/index.d.ts')].filter(([name]) => !main.has(name));
  const solid = [...declarations('solid/index.d.ts')].filter(([name]) => !main.has(name));
  const bindings = [...declarations('bindings.d.ts')].filter(([name]) => !main.has(name));
  await expect(asText(main)).toMatchFileSnapshot('declarations/index.d.ts.txt');
  await expect(asText(new Map(react))).toMatchFileSnapshot('declarations/react.d.ts.txt');
  await expect(asText(new Map(solid))).toMatchFileSnapshot('declarations/solid.d.ts.txt');
  await expect(asText(new Map(bindings))).toMatchFileSnapshot('declarations/bindings.d.ts.txt');
});
