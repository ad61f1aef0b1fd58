/** Queries that nobody shows any more and that are kept all the same, for programs that set `maxRecentQueries`. */
import type {QueryInternals} from './query/internals.js';

/** The last so many queries; each is kept by what `keep` does, until what it returned is called. */
export class RecentQueries {
  readonly #max: number;
  readonly #keep: (query: QueryInternals) => () => void;
  // The oldest first.
  readonly #kept = new Map<string, () => void>();

  constructor(max: number, keep: (query: QueryInternals) => () => void) {
    this.#max = max;
    this.#keep = keep;
  }

  /** The query has lost its last user. */
  add(query: QueryInternals): void {
    if (this.#max <= 0) {
      return;
    }
    this.used(query);
    this.#kept.set(query.hash(), this.#keep(query));
    for (const [hash, release] of this.#kept) {
      if (this.#kept.size <= this.#max) {
        break;
      }
      this.#kept.delete(hash);
      release();
    }
  }

  /** The query has a user again. */
  used(query: QueryInternals): void {
    if (this.#kept.size > 0) {
      const hash = query.hash();
      this.#kept.get(hash)?.();
      this.#kept.delete(hash);
    }
  }
}
