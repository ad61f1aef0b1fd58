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
function declarations(entry: string): string {
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
  const sorted = [...found].sort(([a], [b]) => (a < b ? -1 : 1));
  return sorted.map(([name, text]) => `// ${name}\n${text}`).join('\n');
}

// `npx vitest run -u test/declarations.test.ts` accepts a change.
test.each(['index', 'react/index'])('the declarations of %s are as reviewed', async entry => {
  await expect(declarations(`${entry}.d.ts`)).toMatchFileSnapshot(`declarations/${entry.replace('/', '-')}.d.ts.txt`);
});
