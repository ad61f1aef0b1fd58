// Builds the client's WebAssembly module into js/wasm and prints what it weighs.
//   node scripts/build-wasm.mjs          the module that ships: optimised for size
//   node scripts/build-wasm.mjs --dev    quick and unoptimised, with readable panics and stacks
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { brotliCompressSync, gzipSync } from 'node:zlib';
import { command, output, Refusal, root, run, say, targetFolder, WASM_BINDGEN } from './tools.mjs';
import { numberByLikeness } from './wasm-locals.mjs';
import { shortenNames } from './wasm-names.mjs';
import { nameByLikeness } from './wasm-order.mjs';

const CRATE = 'landfall-web';
const TARGET = 'wasm32-unknown-unknown';
/** What the module may weigh after brotli, in KB. Lower it when the module has become smaller; raise it only with a reason. */
const MOST_KB = 241.3;
/** The scripts that make the module: it is built anew when one of them has changed. */
const RECIPE = ['build-wasm.mjs', 'wasm-instructions.mjs', 'wasm-locals.mjs', 'wasm-names.mjs', 'wasm-order.mjs', 'wasm-sections.mjs'];
const out = join(root, 'js/wasm');
const stamp = join(out, '.built-from');
const wasm = join(out, 'landfall_bg.wasm');
const script = join(out, 'landfall.js');

/** Builds `js/wasm` if the crates or the tools have changed; `dev` skips all optimisation. */
export function buildWasm({ dev = false } = {}) {
  const profile = dev ? 'dev' : 'wasm';
  // Only as a module: beside an `rlib`, which tests link, all that is public would stay in it, a seventh of its size.
  const module = ['--lib', '--crate-type', 'cdylib'];
  const paths = dev ? [] : ['--config', samePaths()];
  // Constants lie behind the stack: a little below a megabyte their addresses take three bytes each, not four.
  const stack = ['-C', `link-arg=-zstack-size=${960 * 1024}`];
  run('cargo', ['rustc', '--locked', '--quiet', '--target', TARGET, '--profile', profile, '-p', CRATE, ...module, ...paths, '--', ...stack]);
  const built = join(targetFolder(), TARGET, dev ? 'debug' : 'wasm', 'landfall_web.wasm');
  const recipe = fingerprint(built, profile);
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === recipe && existsSync(wasm)) {
    say('js/wasm is up to date');
    return;
  }
  rmSync(stamp, { force: true });
  mkdirSync(out, { recursive: true });
  run('wasm-bindgen', ['--target', 'no-modules', '--out-dir', out, '--out-name', 'landfall', ...(dev ? ['--debug'] : []), built]);
  rmSync(join(out, 'landfall_bg.wasm.d.ts'), { force: true });
  wrapGlue();
  wrapTypes();
  if (!dev) {
    shortenNames(wasm, script);
    optimise();
  }
  if (!WebAssembly.validate(readFileSync(wasm))) throw new Refusal(`${wasm} is not a valid WebAssembly module`);
  writeFileSync(stamp, recipe);
}

// Messages of panics tell where in the sources they come from: not where these lie on the machine that built the module,
// so that it is the same module wherever it is built.
function samePaths() {
  const folders = {
    rust: join(output('rustc', ['--print', 'sysroot']) ?? '', 'lib/rustlib/src/rust'),
    dependencies: join(process.env.CARGO_HOME ?? join(homedir(), '.cargo'), 'registry/src'),
  };
  const flags = Object.entries(folders).map(([name, folder]) => `--remap-path-prefix=${folder}=${name}`);
  return `target.${TARGET}.rustflags=${JSON.stringify(flags)}`;
}

// The bindings of wasm-bindgen keep one instance per script. As a function they make one for each client:
// memory is given back with the client, and a panic ends that client alone. To fetch and to compile is left to the package.
function wrapGlue() {
  const bindings = part(readFileSync(script, 'utf8'), '    /**\n     * A running client.', '    let wasmModule, wasmInstance, wasm;\n');
  writeFileSync(script, `/** Makes the bindings for one instance of the module. */
export function createBindings() {
    let wasm;
    const exports = {};
${bindings}
    return {
        Core,
        imports: __wbg_get_imports(),
        start(instance) {
            wasm = instance.exports;
            wasm.__wbindgen_start();
        },
    };
}
`);
}

function wrapTypes() {
  const types = join(out, 'landfall.d.ts');
  writeFileSync(types, `${part(readFileSync(types, 'utf8'), 'declare namespace wasm_bindgen {', 'declare type InitInput')}
export type Core = wasm_bindgen.Core;
/** The bindings of one instance: compile the module with these imports, start it, then construct. */
export interface Bindings {
    readonly Core: typeof wasm_bindgen.Core;
    readonly imports: WebAssembly.Imports;
    start(instance: WebAssembly.Instance): void;
}
/** Makes the bindings for one instance of the module. */
export declare function createBindings(): Bindings;
`);
}

/** What a file of wasm-bindgen holds from one line to another. */
function part(content, from, to) {
  const [start, end] = [content.indexOf(from), content.indexOf(to)];
  if (start < 0 || end < start) throw new Refusal(`wasm-bindgen ${WASM_BINDGEN} was expected to write other files`);
  return content.slice(start, end);
}

function optimise() {
  const small = `${wasm}.small`;
  // No feature flags: the module carries its own list, and with `--all-features` it would not compile.
  // Nothing lives in the lowest kilobyte: it is the far end of the stack. What one function calls and large stays apart, which compresses better.
  // So do a short expression that is written again where another local would hold it, and what is kept in a local rather than written into the one place that reads it.
  const apart = ['--one-caller-inline-max-function-size=0', '--skip-pass=local-cse', '--skip-pass=simplify-locals'];
  // Blocks and branches that are made anew from the flow between them are fewer. No browser asks how a load is aligned.
  run('wasm-opt', ['-Oz', '--flatten', '--rereloop', '-Oz', '--dealign', '--low-memory-unused', ...apart, wasm, '-o', small]);
  // Equal numbers for locals that are used alike, then functions beside what they resemble.
  numberByLikeness(small);
  nameByLikeness(small);
  run('wasm-opt', ['--reorder-functions-by-name', '--strip-debug', '--strip-producers', '--strip-target-features', small, '-o', wasm]);
  rmSync(small);
}

function fingerprint(built, profile) {
  const content = createHash('sha256').update(readFileSync(built)).digest('hex');
  const recipe = createHash('sha256');
  for (const name of RECIPE) recipe.update(readFileSync(join(root, 'scripts', name)));
  return `${profile} ${WASM_BINDGEN} ${content} ${recipe.digest('hex')}\n`;
}

/**
 * Prints what the module weighs: raw, gzip, brotli. The package's build does the same for its JavaScript.
 * Refuses a module that is heavier than it may be, unless it was not optimised.
 */
export function checkSize({ dev = false } = {}) {
  const bytes = readFileSync(wasm);
  const sizes = [bytes, gzipSync(bytes, { level: 9 }), brotliCompressSync(bytes)].map(({ length }) => length / 1024);
  const [raw, gzip, brotli] = sizes.map(size => `${size.toFixed(1)} KB`);
  say(`landfall_bg.wasm: ${raw} raw, ${gzip} gzip, ${brotli} brotli`);
  if (!dev && sizes[2] > MOST_KB) {
    throw new Refusal(`the WebAssembly module weighs ${brotli} after brotli and may weigh ${MOST_KB} KB: see MOST_KB in scripts/build-wasm.mjs`);
  }
}

if (process.argv[1] === join(root, 'scripts/build-wasm.mjs')) {
  await command(() => {
    const dev = process.argv.includes('--dev');
    buildWasm({ dev });
    checkSize({ dev });
  });
}
