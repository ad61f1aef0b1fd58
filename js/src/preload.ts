/** Queries that are kept current without being shown. */
import type {QueryInternals} from './query/internals.js';
import type {ViewOwner} from './view.js';

/** A query that is synchronised until `cleanup`. */
export interface Preload {
  /** Resolves when the server has sent everything; of a client that ends before nothing is heard. */
  readonly complete: Promise<void>;
  readonly cleanup: () => void;
}

/** Asks for a query without showing it. */
export function preload(owner: ViewOwner, query: QueryInternals, ttlMs: number): Preload {
  let cleanup = () => {};
  let cleaned = false;
  const complete = new Promise<void>(resolve => {
    owner.whenCore(core => {
      if (cleaned) {
        return;
      }
      const view = core.openView(
        {astJSON: query.astJSON, shape: undefined, source: owner.sourceOf(query), ttlMs},
        {publish: (_, status) => status === 'complete' && resolve(), notify: () => {}},
      );
      cleanup = () => view.drop();
      // To open it delivers what came before, to listeners of the application's too.
      if (cleaned) {
        cleanup();
      }
    });
  });
  return {
    complete,
    cleanup: () => {
      cleaned = true;
      cleanup();
      cleanup = () => {};
    },
  };
}
