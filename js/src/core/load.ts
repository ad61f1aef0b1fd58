/** Finds, fetches and compiles the WebAssembly module; makes one instance of it for each client. */
import {type Bindings, createBindings} from '../../wasm/landfall.js';
import {nextTask} from './next-task.js';
import {viteBase, viteModuleURL} from './vite.js';
import {LandfallError, messageOf} from '../landfall-error.js';
import type {WasmSource} from '../wasm-source.js';

// After each of these the module is asked for again, when it was the network that failed.
const pausesMs = [500, 2000, 8000, 30_000];

/** An own instance of the module, ready to construct a core. `wanted` tells whether to try on after a failure. */
export async function loadBindings(source: WasmSource | undefined, wanted: () => boolean): Promise<Bindings> {
  for (let attempt = 0; ; attempt++) {
    try {
      const input = await begin(source ?? moduleURL());
      const compiled = source === undefined ? compile(input).catch(compileMoved) : compile(input);
      // Made while the module is on its way, and not in the task of the page that asked for it.
      const bindings = createBindings();
      bindings.start(await WebAssembly.instantiate(await compiled, bindings.imports));
      await nextTask();
      return bindings;
    } catch (error) {
      const pauseMs = pausesMs[attempt];
      if (pauseMs === undefined || !isFetchFailure(source, error) || !wanted()) {
        throw new LandfallError('load', `The WebAssembly module could not be loaded${placeOf(source)}: ${explained(messageOf(error))}`, {cause: error});
      }
      await new Promise(resolve => setTimeout(resolve, pauseMs));
    }
  }
}

// Vite's dev server may have moved this file away from the module.
async function compileMoved(error: unknown): Promise<WebAssembly.Module> {
  const url = await viteModuleURL(import.meta.url).catch(() => undefined);
  if (url === undefined) {
    throw error;
  }
  return compile(await begin(url));
}

// `fetch` throws a TypeError when there is no answer; a module that is none gives errors of other kinds.
function isFetchFailure(source: WasmSource | undefined, error: unknown): boolean {
  const isFetched = source === undefined || source instanceof URL || typeof source === 'string';
  return isFetched && error instanceof TypeError;
}

// Written so that bundlers see the file and give it a hashed name.
function moduleURL(): URL {
  return new URL('../../wasm/landfall_bg.wasm', import.meta.url);
}

type Input = Response | BufferSource | WebAssembly.Module;

async function begin(source: WasmSource): Promise<Input> {
  if (typeof source !== 'string' && !(source instanceof URL)) {
    return source as Input;
  }
  const fs = source instanceof URL && source.protocol === 'file:' ? nodeFiles() : undefined;
  return fs === undefined ? fetch(source) : fs.readFile(source as URL);
}

// Not by `compileStreaming`: that reads and checks the module in tasks of the page, which wait for each other. Here all of
// it happens beside the page, and no server has to know the type of the file.
async function compile(input: Input): Promise<WebAssembly.Module> {
  if (!isResponse(input)) {
    return input instanceof WebAssembly.Module ? input : WebAssembly.compile(input);
  }
  if (!input.ok) {
    throw new Error(`${input.status} ${input.statusText}`);
  }
  return WebAssembly.compile(await input.arrayBuffer());
}

function isResponse(input: Input): input is Response {
  return typeof Response === 'function' && input instanceof Response;
}

interface NodeFiles {
  readFile(url: URL): Promise<Uint8Array<ArrayBuffer>>;
}

// Node cannot fetch files. Asked for this way no bundler finds an import of `node:fs` in code for browsers.
function nodeFiles(): NodeFiles | undefined {
  const {process} = globalThis as {process?: {getBuiltinModule?: (name: string) => NodeFiles | undefined}};
  return process?.getBuiltinModule?.('node:fs/promises');
}

// What browsers say of the two commonest mistakes leaves out what to do.
function explained(message: string): string {
  if (/content.security|\bCSP\b|unsafe-eval/i.test(message)) {
    return `the page's Content-Security-Policy needs script-src 'wasm-unsafe-eval'. ${message}`;
  }
  if (viteBase(import.meta.url) !== undefined && /magic|^404/i.test(message)) {
    return `Vite's dev server has bundled the package apart from it; vite.config needs optimizeDeps: {exclude: ['landfall']}, with the name that you import the package by. ${message}`;
  }
  if (/magic/i.test(message)) {
    return `what is there is something else, such as a page that is served for every unknown address. ${message}`;
  }
  return message;
}

// Whoever sees this has most often a bundler or a server that does not give the file.
function placeOf(source: WasmSource | undefined): string {
  const place = source ?? moduleURL();
  return typeof place === 'string' || place instanceof URL ? ` from ${place} (see the option "wasm")` : '';
}
