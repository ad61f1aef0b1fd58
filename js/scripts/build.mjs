// Compiles src to dist, and prints what the entries and the WebAssembly module weigh.
import {spawnSync} from 'node:child_process';
import {existsSync, readFileSync, rmSync} from 'node:fs';
import {createRequire} from 'node:module';
import {dirname, join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {brotliCompressSync, gzipSync} from 'node:zlib';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const require = createRequire(import.meta.url);
const tsc = join(dirname(require.resolve('typescript/package.json')), 'bin', 'tsc');

rmSync(join(root, 'dist'), {recursive: true, force: true});
const {status} = spawnSync(process.execPath, [tsc, '-p', root], {stdio: 'inherit'});
if (status !== 0) {
  process.exit(status ?? 1);
}

const wasm = join(root, 'wasm', 'landfall_bg.wasm');
const sizes = [];
if (existsSync(wasm)) {
  sizes.push(['landfall_bg.wasm', readFileSync(wasm)]);
} else {
  console.warn('js/wasm is missing: build the WebAssembly module first.');
}

const {build} = await import('esbuild');
for (const entry of ['index.js', 'react/index.js', 'solid/index.js']) {
  const {outputFiles, metafile} = await build({
    absWorkingDir: root,
    entryPoints: [`dist/${entry}`],
    bundle: true,
    minify: true,
    format: 'esm',
    splitting: true,
    outdir: 'bundled',
    write: false,
    metafile: true,
    external: ['react', 'solid-js'],
    logLevel: 'error',
  });
  sizes.push([`${entry} (bundled, minified)`, Buffer.concat(loadedAtOnce(entry, outputFiles, metafile))]);
}

/** The entry and what it imports; what is imported only when it is needed, as the inspector's answers are, counts nothing. */
function loadedAtOnce(entry, files, {outputs}) {
  const paths = Object.keys(outputs);
  const wanted = new Set(paths.filter(path => outputs[path].entryPoint === `dist/${entry}`));
  for (const path of wanted) {
    const imports = outputs[path].imports.filter(({kind, external}) => kind === 'import-statement' && !external);
    imports.forEach(({path}) => wanted.add(path));
  }
  return [...wanted].map(path => files[paths.indexOf(path)].contents);
}

for (const [name, bytes] of sizes) {
  const kb = length => `${(length / 1024).toFixed(1)} kB`.padStart(10);
  const [raw, gzip, brotli] = [bytes, gzipSync(bytes), brotliCompressSync(bytes)].map(b => kb(b.length));
  console.log(`${name.padEnd(36)} raw ${raw}  gzip ${gzip}  brotli ${brotli}`);
}
