/** What the core is told when it starts, as JSON. */
import type {Schema} from './schema/schema.js';
import type {CommonOptions} from './zero-options.js';

/** What a core is besides what the application's options say. */
export interface CoreIdentity {
  readonly schema: Schema;
  readonly clientID: string;
  readonly storageName: string;
  readonly isIndexed: boolean;
  readonly server: string | null;
  readonly auth: string | undefined;
  /** `held` connects when it is released, `draining` is the core of a store of an earlier schema. */
  readonly role: 'held' | 'draining' | undefined;
}

/** The application's endpoint for queries, under its present or its earlier name. */
export function queryURL(options: CommonOptions): string | undefined {
  return options.queryURL ?? options.getQueriesURL;
}

/** The JSON that the module reads. */
export function coreOptionsJSON(options: CommonOptions, core: CoreIdentity): string {
  return JSON.stringify({
    schema: core.schema,
    role: core.role,
    clientID: core.clientID,
    storageName: core.storageName,
    storage: core.isIndexed ? 'indexed' : 'memory',
    cacheURL: core.server,
    userID: options.userID ?? undefined,
    auth: core.auth,
    queryURL: queryURL(options),
    queryHeaders: options.queryHeaders,
    mutateURL: options.mutateURL,
    mutateHeaders: options.mutateHeaders,
    pingTimeoutMs: options.pingTimeoutMs,
    hiddenDisconnectMs: options.hiddenTabDisconnectDelay,
    disconnectMs: options.disconnectTimeoutMs,
    queryThrottleMs: options.queryChangeThrottleMs,
    maxHeaderLength: options.maxHeaderLength,
  });
}
