import type {TTL} from './ttl.js';

/** How `run` answers. */
export interface RunOptions {
  /** `'unknown'` (the default): at once, with local data. `'complete'`: when the server has confirmed the answer. */
  readonly type?: 'unknown' | 'complete' | undefined;
  readonly ttl?: TTL | undefined;
}

/** How long a preloaded query stays alive. */
export interface PreloadOptions {
  readonly ttl?: TTL | undefined;
}

/** How long a materialised query stays alive. */
export interface MaterializeOptions {
  readonly ttl?: TTL | undefined;
}
