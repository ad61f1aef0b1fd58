/** What the application sees of the connection. */

/** The names of the connection's states. */
export const ConnectionStatus = {
  Disconnected: 'disconnected',
  Connecting: 'connecting',
  Connected: 'connected',
  NeedsAuth: 'needs-auth',
  Error: 'error',
  Closed: 'closed',
} as const;
export type ConnectionStatus = (typeof ConnectionStatus)[keyof typeof ConnectionStatus];

/** Who refused the token. */
export type NeedsAuthReason =
  | {readonly type: 'mutate' | 'query'; readonly status: 401 | 403; readonly body?: string}
  | {readonly type: 'zero-cache'; readonly reason: string};

/** The state of the connection. Reads and writes work in every state but `closed`. */
export type ConnectionState =
  | {readonly name: 'connecting'; readonly reason?: string}
  | {readonly name: 'connected'}
  | {readonly name: 'disconnected'; readonly reason: string}
  | {readonly name: 'needs-auth'; readonly reason: NeedsAuthReason}
  | {readonly name: 'error'; readonly reason: string}
  | {readonly name: 'closed'; readonly reason: string};

/** A value that changes. */
export interface Source<T> {
  readonly current: T;
  /** Calls back after every change, not at once; returns a function that stops it. */
  subscribe(listener: (value: T) => void): () => void;
}
export type ConnectionSource = Source<ConnectionState>;

/** The connection to the server. */
export interface Connection {
  readonly state: ConnectionSource;
  /** Brings a new token, if one is given, and goes on from `needs-auth` and `error`. */
  connect(options?: {readonly auth?: string | null | undefined}): Promise<void>;
}
