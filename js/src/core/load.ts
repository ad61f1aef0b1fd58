/** Finds, fetches and compiles the WebAssembly module; makes one instance of it for each client. */
import {type Bindings, createBindings} from '../../wasm/landfall.js';
import {LandfallError, messageOf} from '../landfall-error.js';
import type {WasmSource} from '../wasm-source.js';

// After each of these the module is asked for again, when it was the network that failed.
const pausesMs = [500, 2000, 8000, 30_000];

/** An own instance of the module, ready to construct a core. `wanted` tells whether to try on after a failure. */
export async function loadBindings(source: WasmSource | undefined, wanted: () => boolean): Promise<Bindings> {
  for (let attempt = 0; ; attempt++) {
    try {
      // Asked for first: what else is done at the start is done while it is on its way.
      const module = compile(source ?? moduleURL());
      const bindings = createBindings();
      bindings.start(await WebAssembly.instantiate(await module, bindings.imports));
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

// `fetch` throws a TypeError when there is no answer; a module that is none gives errors of other kinds.
function isFetchFailure(source: WasmSource | undefined, error: unknown): boolean {
  const isFetched = source === undefined || source instanceof URL || typeof source === 'string';
  return isFetched && error instanceof TypeError;
}

// Written so that bundlers see the file and give it a hashed name.
function moduleURL(): URL {
  return new URL('../../wasm/landfall_bg.wasm', import.meta.url);
}

// Not by `compileStreaming`: that reads and checks the module in tasks of the page, which wait for each other. Here all of
// it happens beside the page, and no server has to know the type of the file.
async function compile(source: WasmSource): Promise<WebAssembly.Module> {
  if (typeof source === 'string' || source instanceof URL || isResponse(source)) {
    return WebAssembly.compile(await read(source));
  }
  return source instanceof WebAssembly.Module ? source : WebAssembly.compile(source as BufferSource);
}

async function read(source: string | URL | Response): Promise<BufferSource> {
  const fs = source instanceof URL && source.protocol === 'file:' ? nodeFiles() : undefined;
  if (fs !== undefined) {
    return fs.readFile(source as URL);
  }
  const response = isResponse(source) ? source : await fetch(source);
  if (!response.ok) {
    throw new Error(`${response.status} ${response.statusText}`);
  }
  return response.arrayBuffer();
}

function isResponse(source: WasmSource): source is Response {
  return typeof Response === 'function' && source instanceof Response;
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
