import type {ReadonlyJSONValue} from './json.js';

/** What `ApplicationError` takes beside its message. */
export interface ApplicationErrorOptions<T extends ReadonlyJSONValue | undefined = ReadonlyJSONValue | undefined> {
  /** Sent along, for the caller to act on. */
  readonly details?: T | undefined;
  readonly cause?: unknown;
}

/**
 * An error of the application's own rules, thrown in a mutator or query function.
 *
 * ```ts
 * throw new ApplicationError('The title is taken', {details: {code: 'taken'}});
 * ```
 */
export class ApplicationError<T extends ReadonlyJSONValue | undefined = ReadonlyJSONValue | undefined> extends Error {
  override readonly name = 'ApplicationError';
  readonly kind = 'Application';
  readonly details: T;

  constructor(message: string, options?: ApplicationErrorOptions<T>) {
    super(message, options?.cause === undefined ? undefined : {cause: options.cause});
    this.details = options?.details as T;
  }
}

/** Whether an error is an `ApplicationError`, also one of another copy of this module. */
export function isApplicationError(error: unknown): error is ApplicationError {
  return error instanceof Error && error.name === 'ApplicationError' && 'kind' in error && error.kind === 'Application';
}

/**
 * What something that was thrown tells beside its message: its `details`, as JSON, if it has any; else an error's name, and
 * what is no error as it is. What JSON cannot hold is left out.
 */
export function detailsOf(thrown: unknown): ReadonlyJSONValue | undefined {
  try {
    const text = JSON.stringify(toldBy(thrown)) as string | undefined;
    return text === undefined ? undefined : (JSON.parse(text) as ReadonlyJSONValue);
  } catch {
    return undefined;
  }
}

function toldBy(thrown: unknown): unknown {
  if (typeof thrown === 'object' && thrown !== null && 'details' in thrown) {
    return thrown.details;
  }
  if (!(thrown instanceof Error)) {
    return thrown;
  }
  return thrown.name === 'Error' ? undefined : {name: thrown.name};
}
