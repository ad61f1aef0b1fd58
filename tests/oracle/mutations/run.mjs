// Breaks the engine in one small way after the other, and says whether the tests notice.
//
//   node tests/oracle/mutations/run.mjs [PART OF A NAME …]
//
// Works in a copy of HEAD, so the tree may be dirty, but only what is committed is broken. Builds into a folder of its
// own in the target directory: cargo takes two copies of one workspace for the same.
// Runs as many programs as the tests' default times are enough for on an idle machine; more for what is `rare`.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { mutations } from './list.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '../../..');
const wanted = process.argv.slice(2);
const chosen = mutations.filter(({ name }) => !wanted.length || wanted.some(part => name.includes(part)));

const copy = mkdtempSync(join(tmpdir(), 'landfall-mutations-'));
execFileSync('git', ['worktree', 'add', '--detach', '--force', copy, 'HEAD'], { cwd: root, stdio: 'ignore' });
const target = process.env.CARGO_TARGET_DIR ?? join(root, 'target');
const env = { ...process.env, CARGO_TARGET_DIR: join(target, 'mutations'), RUST_BACKTRACE: '0' };

// What a change of the engine is checked with, the cheapest first; all run with their default times.
const suites = [
  ['cases', ['test', '-p', 'landfall-ivm', '--test', 'cases', '--test', 'rows']],
  ['programs', ['test', '-p', 'landfall-oracle', '--no-default-features', '--test', 'programs', 'memory']],
];
// What random programs have too few rows for.
const counted = ['counted', ['test', '-p', 'landfall-ivm', '--test', 'cost', '--test', 'slices']];
const library = ['library', ['test', '-p', 'landfall-ivm', '--lib']];
const databases = [
  ['replica', ['test', '-p', 'landfall-oracle', '--test', 'replica'], '300'],
];

function test(args, programs) {
  const built = spawnSync('cargo', [...args.slice(0, 1), '--no-run', '--quiet', ...args.slice(1)], { cwd: copy, env, encoding: 'utf8' });
  if (built.status !== 0) return { verdict: 'does not build', output: built.stderr };
  const from = Date.now();
  // `timeout` ends the tests with cargo, which a signal to cargo alone does not.
  const ran = spawnSync('timeout', ['300', 'cargo', ...args.slice(0, 1), '--quiet', ...args.slice(1)], {
    cwd: copy,
    env: { ...env, LANDFALL_TEST_PROGRAMS: programs },
    encoding: 'utf8',
  });
  const seconds = (Date.now() - from) / 1000;
  const output = ran.stdout + ran.stderr;
  if (ran.status === 0) return { verdict: 'passes', seconds, output };
  return { verdict: ran.status === 124 ? 'hangs' : 'fails', seconds, output };
}

let missed = 0;
try {
  for (const { name, file, from, to, edits = [[from, to]], database, library: inLibrary, counted: isCounted, rare } of chosen) {
    const path = join(copy, file);
    const before = readFileSync(path, 'utf8');
    const lost = edits.find(([from]) => before.split(from).length !== 2);
    if (lost) {
      console.log(`? ${name}: ${file} has not once ${JSON.stringify(lost[0])}`);
      missed += 1;
      continue;
    }
    writeFileSync(path, edits.reduce((text, [from, to]) => text.replace(from, () => to), before));
    const found = [];
    for (const [suite, args, programs = rare ? '6000' : '1500'] of database ? databases : inLibrary ? [library] : isCounted ? [counted] : suites) {
      const { verdict, seconds, output } = test(args, programs);
      const seed = /LANDFALL_TEST_SEED=(\d+)/.exec(output)?.[1];
      if (verdict === 'does not build') throw new Error(`${name} does not build:\n${output}`);
      found.push(`${suite} ${verdict}${seed ? ` (seed ${seed}, ${seconds.toFixed(1)} s)` : ''}`);
    }
    writeFileSync(path, before);
    const noticed = found.some(verdict => !verdict.endsWith('passes'));
    if (!noticed) missed += 1;
    console.log(`${noticed ? '✓' : '✗'} ${name}: ${found.join(', ')}`);
  }
} finally {
  execFileSync('git', ['worktree', 'remove', '--force', copy], { cwd: root });
  rmSync(copy, { recursive: true, force: true });
}
console.log(`${chosen.length - missed} of ${chosen.length} noticed`);
if (missed) process.exit(1);
