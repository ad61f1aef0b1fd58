import { Landfall, type WasmSource } from 'landfall';
import { mutators, queries, schema } from './schema.js';

/** Writes and reads with a client of its own; says what it stored. */
export async function write(wasm?: WasmSource): Promise<string> {
  const zero = new Landfall({ schema, mutators, logLevel: 'error', storageKey: 'worker', wasm });
  const { type } = await zero.mutate(mutators.note.add({ id: 'worker', text: 'from the worker' })).durable;
  const [note] = await zero.run(queries.notes());
  return `${type}: ${note?.text}`;
}
