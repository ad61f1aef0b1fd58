/** What went wrong, in one word that a program can decide on. */
export type LandfallErrorCode =
  /** The client is closed, by `close()` or by a fault. */
  | 'closed'
  /** The WebAssembly module could not be loaded. */
  | 'load'
  /** A fault inside the client; it is closed for good, what was stored is safe. */
  | 'fault'
  /** A query that the schema or this version cannot answer. */
  | 'query'
  /** A write that does not fit the schema. */
  | 'write'
  /** A transaction was used after its mutator had settled. */
  | 'transaction-closed'
  /** The server did not answer a question of the inspector. */
  | 'inspector'
  /** There is no IndexedDB where the program runs. */
  | 'storage'
  /** An option or argument that makes no sense. */
  | 'argument';

/** The error of everything that the client itself refuses or fails to do. */
export class LandfallError extends Error {
  override readonly name = 'LandfallError';
  readonly code: LandfallErrorCode;

  constructor(code: LandfallErrorCode, message: string, options?: {readonly cause?: unknown}) {
    super(message, options);
    this.code = code;
  }
}

/** A transaction was used after its mutator had settled. */
export class TransactionClosedError extends LandfallError {
  constructor(message: string, options?: {readonly cause?: unknown}) {
    super('transaction-closed', message, options);
  }
}

/** What to say of something that was thrown, whatever it is. */
export function messageOf(thrown: unknown): string {
  try {
    const message = (thrown as {readonly message?: unknown} | null | undefined)?.message;
    return typeof message === 'string' ? message : String(thrown);
  } catch {
    return 'Something was thrown that cannot be shown.';
  }
}
