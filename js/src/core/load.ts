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
      await bindings({module_or_path: await input(source ?? moduleURL())});
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

async function input(source: WasmSource): Promise<InitInput> {
  if (source instanceof URL && source.protocol === 'file:') {
    const fs = nodeFiles();
    if (fs !== undefined) {
      return new Uint8Array(await fs.readFile(source));
    }
  }
  return source as InitInput;
}

/** What {@link WasmSource} is where there are the browser's types. */
type InitInput = string | URL | Response | BufferSource | WebAssembly.Module;

interface NodeFiles {
  readFile(url: URL): Promise<Uint8Array>;
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
