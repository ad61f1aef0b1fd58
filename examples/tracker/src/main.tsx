import { Landfall } from 'landfall';
import { ZeroProvider } from 'landfall/react';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { mutators } from '../shared/mutators.ts';
import { queries } from '../shared/queries.ts';
import { schema } from '../shared/schema.ts';
import { App } from './App.tsx';
import { PAGE, START } from './IssueList.tsx';
import './styles.css';

const zero = new Landfall({
  schema,
  mutators,
  cacheURL: import.meta.env.VITE_CACHE_URL ?? location.origin,
});
// What every page needs is kept in sync from the start, and so is there when the network is not.
zero.preload(queries.users(), { ttl: '10m' });
zero.preload(queries.labels(), { ttl: '10m' });
// With the newest issues on board, filters and search answer at once, also offline. The first page goes first.
zero.run(queries.issues.list({ ...START, limit: PAGE }), { type: 'complete' }).then(
  () => zero.preload(queries.issues.list({ ...START, status: 'all', limit: 10_000 }), { ttl: '10m' }),
  () => undefined, // The list shows why.
);

createRoot(document.getElementById('root')!).render(
  <StrictMode>
    <ZeroProvider zero={zero}><App /></ZeroProvider>
  </StrictMode>,
);

if ('serviceWorker' in navigator && import.meta.env.PROD) {
  addEventListener('load', () => void navigator.serviceWorker.register('/sw.js'));
}
