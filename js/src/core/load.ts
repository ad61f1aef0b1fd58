/** Finds, fetches and compiles the WebAssembly module; makes one instance of it for each client. */
import {type Bindings, createBindings} from '../../wasm/landfall.js';
import {LandfallError, messageOf} from '../landfall-error.js';
import type {WasmSource} from '../wasm-source.js';

// After each of these the module is asked for again, when it was the network that failed.
const pausesMs = [500, 2000, 8000, 30_000];

/** An own instance of the module, ready to construct a core. `wanted` tells whether to try on after a failure. */
export async function loadBindings(source: WasmSource | undefined, wanted: () => boolean): Promise<Bindings> {
  for (let attempt = 0; ; attempt++) {
    const bindings = createBindings();
    try {
      bindings.start(await instantiate(source ?? moduleURL(), bindings.imports));
      return bindings;
    } catch (error) {
      const pauseMs = pausesMs[attempt];
      if (pauseMs === undefined || !isFetchFailure(source, error) || !wanted()) {
        throw new LandfallError('load', `The WebAssembly module could not be loaded${placeOf(source)}: ${messageOf(error)}`, {cause: error});
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

/** What {@link WasmSource} is where there are the browser's types. */
type Input = Response | BufferSource | WebAssembly.Module;

async function instantiate(source: WasmSource, imports: WebAssembly.Imports): Promise<WebAssembly.Instance> {
  const input = (await (typeof source === 'string' || source instanceof URL ? read(source) : source)) as Input;
  if (input instanceof WebAssembly.Module) {
    return WebAssembly.instantiate(input, imports);
  }
  const isResponse = typeof Response === 'function' && input instanceof Response;
  return (await (isResponse ? instantiateResponse(input, imports) : WebAssembly.instantiate(input as BufferSource, imports))).instance;
}

async function read(place: string | URL): Promise<Response | Uint8Array<ArrayBuffer>> {
  if (place instanceof URL && place.protocol === 'file:') {
    const fs = nodeFiles();
    if (fs !== undefined) {
      return fs.readFile(place);
    }
  }
  return fetch(place);
}

async function instantiateResponse(response: Response, imports: WebAssembly.Imports): Promise<WebAssembly.WebAssemblyInstantiatedSource> {
  if (!response.ok) {
    throw new Error(`${response.status} ${response.statusText}`);
  }
  // Browsers compile while they load only what the server calls by its right type.
  return response.headers.get('content-type') === 'application/wasm'
    ? WebAssembly.instantiateStreaming(response, imports)
    : WebAssembly.instantiate(await response.arrayBuffer(), imports);
}

interface NodeFiles {
  readFile(url: URL): Promise<Uint8Array<ArrayBuffer>>;
}

// Node cannot fetch files. Asked for this way no bundler finds an import of `node:fs` in code for browsers.
function nodeFiles(): NodeFiles | undefined {
  const {process} = globalThis as {process?: {getBuiltinModule?: (name: string) => NodeFiles | undefined}};
  return process?.getBuiltinModule?.('node:fs/promises');
}

// Whoever sees this has most often a bundler or a server that does not give the file.
function placeOf(source: WasmSource | undefined): string {
  const place = source ?? moduleURL();
  return typeof place === 'string' || place instanceof URL ? ` from ${place} (see the option "wasm")` : '';
}
