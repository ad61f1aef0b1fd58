// The page under test: a list of tasks, and everything that a test drives on `window.app`.
import { Landfall, type ZeroOptions } from 'landfall';
import { useConnectionState, useQuery, ZeroProvider } from 'landfall/react';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { mutators } from './mutators.ts';
import { queries } from './queries.ts';
import { nextSchema, schema as presentSchema, zql } from './schema.ts';

const parameters = new URLSearchParams(location.search);
// The page after a deploy; for what it does here the two schemas are alike.
const schema = parameters.has('next') ? nextSchema as unknown as typeof presentSchema : presentSchema;
const problems: string[] = [];
const zero = new Landfall({
  schema,
  mutators,
  userID: parameters.get('user') ?? undefined,
  cacheURL: parameters.get('cache'),
  storageKey: parameters.get('store') ?? undefined,
  ...(parameters.has('ping') && { pingTimeoutMs: Number(parameters.get('ping')) }),
  logLevel: 'info',
  onStorageProblem: (_, kind) => { problems.push(kind); },
} satisfies ZeroOptions<typeof schema>);

// What a mutator reads has to be here: in embedded mode nobody reads it again for us.
zero.preload(queries.counters());

function Tasks() {
  const [tasks, details] = useQuery(queries.tasks.all());
  const connection = useConnectionState();
  return (
    <main data-state={details.type} data-connection={connection.name}>
      <ul>{tasks.map(task => <li key={task.id} id={task.id}>{task.title}</li>)}</ul>
    </main>
  );
}

declare global {
  interface Window {
    app: { zero: typeof zero; queries: typeof queries; mutators: typeof mutators; zql: typeof zql; problems: string[] };
  }
}
window.app = { zero, queries, mutators, zql, problems };

createRoot(document.getElementById('root')!).render(
  <StrictMode><ZeroProvider zero={zero}><Tasks /></ZeroProvider></StrictMode>,
);
