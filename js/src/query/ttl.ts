type Unit = 's' | 'm' | 'h' | 'd' | 'y';

/**
 * How long a query stays alive after its last user has gone: milliseconds, a text such as `'30s'`, `'none'`, or `'forever'`.
 *
 * More than ten minutes is cut to ten minutes.
 */
export type TTL = number | `${number}${Unit}` | 'none' | 'forever';

const unitMs: {readonly [K in Unit]: number} = {
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  y: 365 * 86_400_000,
};

/** The longest time a query is kept without a user, in milliseconds. */
export const MAX_TTL_MS: number = 10 * unitMs.m;

/** The time for `materialize`, `run` and `useQuery` when nothing else is asked for. */
export const DEFAULT_TTL: TTL = '5m';

/** `DEFAULT_TTL` in milliseconds. */
export const DEFAULT_TTL_MS: number = 5 * unitMs.m;

/** The time for `preload` when nothing else is asked for. */
export const DEFAULT_PRELOAD_TTL: TTL = 'none';

/** `DEFAULT_PRELOAD_TTL` in milliseconds. */
export const DEFAULT_PRELOAD_TTL_MS = 0;

/** The time in milliseconds, before the maximum is applied; `Infinity` for `'forever'`. */
export function unclampedTTL(ttl: TTL): number {
  if (ttl === DEFAULT_TTL) {
    return DEFAULT_TTL_MS;
  }
  if (ttl === 'none') {
    return 0;
  }
  if (ttl === 'forever') {
    return Infinity;
  }
  if (typeof ttl === 'number') {
    return Number.isNaN(ttl) ? 0 : ttl < 0 ? Infinity : ttl;
  }
  const match = /^(-?\d+(?:\.\d+)?)([smhdy])$/.exec(ttl);
  if (match === null) {
    throw new Error(`Invalid TTL: ${ttl}`);
  }
  const ms = Number(match[1]) * unitMs[match[2] as Unit];
  return ms < 0 ? Infinity : ms;
}

/** The time in milliseconds, at most `MAX_TTL_MS`. */
export function parseTTL(ttl: TTL): number {
  return Math.min(unclampedTTL(ttl), MAX_TTL_MS);
}
