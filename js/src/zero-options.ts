import type {DefaultContext, DefaultSchema} from './default-types.js';
import type {AnyMutators} from './mutate/legacy-mutators.js';
import type {Schema} from './schema/schema.js';
import type {WasmSource} from './wasm-source.js';

/** How much is logged. */
export type LogLevel = 'error' | 'warn' | 'info' | 'debug';

/** Where log lines go. */
export interface LogSink {
  log(level: LogLevel, context: undefined, ...args: unknown[]): void;
}

/** Why newer code is needed. */
export type UpdateNeededReason =
  | {readonly type: 'NewClientGroup'; readonly message?: string}
  | {readonly type: 'VersionNotSupported'; readonly message?: string}
  | {readonly type: 'SchemaVersionNotSupported'; readonly message?: string};

/** The types of {@link UpdateNeededReason}. */
export const UpdateNeededReasonType = {
  NewClientGroup: 'NewClientGroup',
  VersionNotSupported: 'VersionNotSupported',
  SchemaVersionNotSupported: 'SchemaVersionNotSupported',
} as const;
export type UpdateNeededReasonType = (typeof UpdateNeededReasonType)[keyof typeof UpdateNeededReasonType];

/**
 * What is wrong with storage: no space is left (`quota`), there is none, no permission, no answer, or another page
 * has deleted it (`unavailable`), its connection was lost and is opened again (`closed`), what was stored is damaged and is
 * loaded anew (`damaged`), the browser has deleted it and it is stored again (`evicted`), or anything else (`other`).
 */
export type StorageProblemKind = 'quota' | 'unavailable' | 'closed' | 'damaged' | 'evicted' | 'other';

/** The options of a client that do not depend on its types. */
export interface CommonOptions {
  /** `http(s)://host[/path]` of the server. Without it nothing is synchronised and everything else works. */
  readonly cacheURL?: string | null | undefined;
  /** @deprecated Use `cacheURL`. */
  readonly server?: string | null | undefined;
  /** The user; storage belongs to one user. Absent or `null`: logged out. */
  readonly userID?: string | null | undefined;
  /** The token for the server; needs a `userID`. */
  readonly auth?: string | null | undefined;
  /** Tells the storage of several clients of one user apart. */
  readonly storageKey?: string | undefined;
  /** `'idb'` (the default) keeps data in IndexedDB; `'mem'` forgets it with the page. */
  readonly kvStore?: 'idb' | 'mem' | undefined;
  /** The application's endpoint for mutations, if not the one the server is set to. */
  readonly mutateURL?: string | undefined;
  readonly mutateHeaders?: {readonly [name: string]: string} | undefined;
  /** The application's endpoint for queries, if not the one the server is set to. */
  readonly queryURL?: string | undefined;
  /** @deprecated Use `queryURL`. */
  readonly getQueriesURL?: string | undefined;
  readonly queryHeaders?: {readonly [name: string]: string} | undefined;
  /** `'warn'` unless set. */
  readonly logLevel?: LogLevel | undefined;
  /** The console unless set. */
  readonly logSink?: LogSink | undefined;
  /**
   * The W3C `traceparent` that the application is in: asked for when a query is opened, a write is called, or a token is
   * given, and sent along for the server and your endpoints to go on with.
   */
  readonly getTraceparent?: (() => string | undefined) | undefined;
  /** Newer code is needed. Unless set, the page is reloaded, with growing pauses. */
  readonly onUpdateNeeded?: ((reason: UpdateNeededReason) => void) | undefined;
  /** The server has forgotten this client. The client starts anew by itself; pending writes are kept. */
  readonly onClientStateNotFound?: (() => void) | undefined;
  /** @deprecated Use `connection.state`. */
  readonly onOnlineChange?: ((online: boolean) => void) | undefined;
  /** Storage failed or is missing: work goes on in memory, and what is not stored would be lost with the page. */
  readonly onStorageProblem?: ((message: string, kind: StorageProblemKind) => void) | undefined;
  /** How long a hidden page keeps its connection, in ms; five minutes unless set. */
  readonly hiddenTabDisconnectDelay?: number | undefined;
  /** How long to try before the state is `disconnected`, in ms; one minute unless set. Trying goes on. */
  readonly disconnectTimeoutMs?: number | undefined;
  /** Silence after which the server is asked for a sign of life, in ms; 5000 unless set. */
  readonly pingTimeoutMs?: number | undefined;
  /** The longest handshake header that may carry the wanted queries; 8192 unless set. */
  readonly maxHeaderLength?: number | undefined;
  /** Changes of wanted queries within this time travel together, in ms; 10 unless set. */
  readonly queryChangeThrottleMs?: number | undefined;
  /** Called around the listeners of one change; must call `apply` before it returns. */
  readonly batchViewUpdates?: ((apply: () => void) => void) | undefined;
  /** A query that the server confirms later than this is warned about, in ms; 5000 unless set. */
  readonly slowMaterializeThreshold?: number | undefined;
  /** @deprecated Use the TTL of a query. How many queries are kept current when nobody shows them any more; none unless set. */
  readonly maxRecentQueries?: number | undefined;
  /** Where the WebAssembly module comes from, for programs that load it themselves. */
  readonly wasm?: WasmSource | undefined;
}

/** What `new Zero` takes. */
export type ZeroOptions<
  S extends Schema = DefaultSchema,
  MD extends AnyMutators | undefined = undefined,
  C = DefaultContext,
> = CommonOptions & {
  readonly schema: S;
  /** The mutators that `zero.mutate` may run. */
  readonly mutators?: MD | AnyMutators | undefined;
} & (unknown extends C ? {readonly context?: C | undefined} : {readonly context: C});
