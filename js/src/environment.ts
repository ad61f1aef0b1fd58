/** What the place where a client runs offers, and what is said when something is missing. */
import {serverURL} from './check-options.js';
import type {Logger} from './logger.js';
import type {CommonOptions} from './zero-options.js';

/** The server's URL, or `null` if there is none or no way to reach it. */
export function usableServer(options: CommonOptions, log: Logger): string | null {
  const url = serverURL(options);
  if (url === null) {
    log('warn', 'No cacheURL is set: no data will be synced.');
    return null;
  }
  if (typeof WebSocket === 'undefined') {
    log('warn', 'There is no WebSocket here, so no data will be synced: use Node 22 or newer, or set globalThis.WebSocket (for example to that of the package "ws") before the client is made.');
    return null;
  }
  return url;
}

/** Whether the client is to store in IndexedDB. */
export function storesInIndexedDB(options: CommonOptions, log: Logger): boolean {
  if (options.kvStore === 'mem') {
    return false;
  }
  // A page without it is told so by its client, and no write is called durable; elsewhere nobody expects it.
  const hasIndexedDB = typeof indexedDB !== 'undefined' && indexedDB !== null;
  if (!hasIndexedDB && !isPage()) {
    log('warn', 'IndexedDB is not available: data is kept in memory and is lost with the process.');
    return false;
  }
  return true;
}

function isPage(): boolean {
  return typeof document !== 'undefined' || 'WorkerGlobalScope' in globalThis;
}
