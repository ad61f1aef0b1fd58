/** Bytes that an engine holds for rows that nobody shows. To be asked once in a fresh page. */
import {generate} from './data.ts';
import type {Engine} from './engine.ts';
import {pause} from './waiting.ts';

export interface Memory {
  /** JavaScript's heap, beyond that of the page before. */
  readonly heap: number;
  /** The memories of WebAssembly; they never shrink. */
  readonly wasm: number;
}

const memories: WebAssembly.Memory[] = [];

/** From now on the memory of every module is known. */
export function watchModules(): void {
  const {instantiate, instantiateStreaming} = WebAssembly;
  const note = ({exports}: WebAssembly.Instance) => {
    // Whatever its name is.
    memories.push(...Object.values(exports).filter(it => it instanceof WebAssembly.Memory));
  };
  const watched = async (made: Promise<WebAssembly.Instance | WebAssembly.WebAssemblyInstantiatedSource>) => {
    const result = await made;
    note(result instanceof WebAssembly.Instance ? result : result.instance);
    return result;
  };
  WebAssembly.instantiate = ((...args: Parameters<typeof instantiate>) => watched(instantiate(...args))) as typeof instantiate;
  WebAssembly.instantiateStreaming = ((...args: Parameters<typeof instantiateStreaming>) =>
    watched(instantiateStreaming(...args))) as typeof instantiateStreaming;
}

/** What the memories of all modules hold. */
export const wasmBytes = (): number => memories.reduce((sum, {buffer}) => sum + buffer.byteLength, 0);

/** `heapUsed` collects garbage first. */
export async function weigh(engine: Engine, rows: number, heapUsed: () => Promise<number>): Promise<Memory> {
  const before = await heapUsed();
  const session = await engine.start(issuesOnly(rows), 'idb');
  await session.settle();
  await pause(3000);
  const heap = (await heapUsed()) - before;
  const wasm = wasmBytes();
  await session.close();
  return {heap, wasm};
}

// In a function of its own: nothing here may keep the rows alive.
function issuesOnly(rows: number) {
  const {issue, user} = generate(rows);
  return {issue, user: user.slice(0, 1), label: [], issueLabel: [], comment: []};
}
