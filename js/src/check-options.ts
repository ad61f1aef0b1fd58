import type {Schema} from './schema/schema.js';
import type {CommonOptions} from './zero-options.js';

/** Throws for options that make no sense, with Zero's messages where Zero has one. */
export function checkOptions(options: CommonOptions & {readonly schema: Schema}): void {
  // Programs in JavaScript, or with a misspelt import.
  if (typeof (options as Partial<typeof options> | undefined)?.schema?.tables !== 'object') {
    throw new Error('ZeroOptions.schema must be what createSchema gave.');
  }
  if (options.auth && !options.userID) {
    throw new Error('ZeroOptions.userID is required when auth is set.');
  }
  if (typeof (options.userID ?? '') !== 'string') {
    throw new Error(`ZeroOptions.userID must be a string, not a ${typeof options.userID}.`);
  }
  if (options.userID === '') {
    throw new Error('ZeroOptions.userID must not be empty.');
  }
  for (const name of ['hiddenTabDisconnectDelay', 'disconnectTimeoutMs', 'pingTimeoutMs', 'queryChangeThrottleMs', 'slowMaterializeThreshold', 'maxRecentQueries'] as const) {
    const value = options[name];
    if (value !== undefined && !(value >= 0)) {
      throw new Error(`ZeroOptions.${name} must not be negative.`);
    }
  }
  if (options.kvStore !== undefined && options.kvStore !== 'idb' && options.kvStore !== 'mem') {
    throw new Error("ZeroOptions.kvStore must be 'idb' or 'mem': Landfall does not take a store of the application's own.");
  }
}

/** The server's URL without a trailing slash, or `null`. */
export function serverURL(options: CommonOptions): string | null {
  const name = options.cacheURL === undefined || options.cacheURL === null ? 'server' : 'cacheURL';
  const given = options[name];
  if (given === undefined || given === null) {
    return null;
  }
  const fail = (must: string): never => {
    throw new Error(`ZeroOptions.${name} must ${must} (got "${given}").`);
  };
  if (!/^https?:\/\//.test(given)) {
    fail('use the "http" or "https" scheme');
  }
  const url = parseURL(given) ?? fail('be a valid URL');
  const path = url.pathname.replace(/\/$/, '');
  if (path.split('/').length > 2) {
    fail('have at most one path component');
  }
  if (url.search !== '' || url.hash !== '') {
    fail('not have a query or hash');
  }
  return url.origin + path;
}

function parseURL(text: string): URL | undefined {
  try {
    return new URL(text);
  } catch {
    return undefined;
  }
}
