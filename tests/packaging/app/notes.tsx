import { useQuery, ZeroProvider } from 'landfall/react';
import type { WasmSource, Zero } from 'landfall';
import { mutators, queries, schema } from './schema.js';

function List() {
  const [notes] = useQuery(queries.notes());
  return <ul>{notes.map(({ id, text }) => <li key={id} id={id}>{text}</li>)}</ul>;
}

const writeOne = (zero: Zero<typeof schema>) => {
  void zero.mutate(mutators.note.add({ id: 'page', text: 'from the page' }));
};

export const Notes = ({ wasm }: { wasm?: WasmSource | undefined }) => (
  <ZeroProvider schema={schema} mutators={mutators} logLevel="error" wasm={wasm} init={writeOne}>
    <List />
  </ZeroProvider>
);
