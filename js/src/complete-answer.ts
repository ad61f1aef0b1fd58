/** A query that is run once, for the answer that the server has confirmed. */
import {LandfallError} from './landfall-error.js';
import type {QueryInternals} from './query/internals.js';
import {DEFAULT_TTL, type TTL} from './query/ttl.js';
import {HeldView, type Views} from './view.js';

/** Resolves with the complete answer; rejects if the query fails. */
export function completeAnswer(views: Views, query: QueryInternals, ttl: TTL | undefined): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const view = new HeldView<unknown>(views, query, ttl ?? DEFAULT_TTL);
    view.addListener((data, type, error) => {
      if (type === 'unknown') {
        return;
      }
      // Not within its own first call: the view is not assigned before that returns.
      queueMicrotask(() => view.destroy());
      if (type === 'complete') {
        resolve(data);
      } else {
        reject(new LandfallError('query', error?.message ?? 'The query failed.', {cause: error}));
      }
    });
  });
}
