import {detailsOf} from '../application-error.js';
import type {ReadonlyJSONValue} from '../json.js';
import {messageOf} from '../landfall-error.js';

/** A mutation did what it should. */
export interface MutatorResultSuccessDetails {
  readonly type: 'success';
}

/** A mutation failed: in the application's own code, or before it could run. */
export interface MutatorResultErrorDetails {
  readonly type: 'error';
  readonly error:
    | {readonly type: 'app'; readonly message: string; readonly details: ReadonlyJSONValue | undefined}
    | {readonly type: 'zero'; readonly message: string};
}

/** How a mutation went. */
export type MutatorResultDetails = MutatorResultSuccessDetails | MutatorResultErrorDetails;

/** The stages of a mutation; its promises always resolve, never reject. */
export interface MutatorResult {
  /** The mutator has run here: its writes show in every query. */
  readonly client: Promise<MutatorResultDetails>;
  /** The mutation is in the local store: it survives a closed page. An error if storage fails or does not answer for long. */
  readonly durable: Promise<MutatorResultDetails>;
  /** The server has accepted or refused the mutation. */
  readonly server: Promise<MutatorResultDetails>;
}

/** Another name of `MutatorResult`. */
export type PromiseWithServerResult = MutatorResult;

/** What a mutation's promises resolve to when its mutator threw. */
export function errorToMutatorResult(error: unknown): MutatorResultErrorDetails {
  return {type: 'error', error: {type: 'app', message: messageOf(error), details: detailsOf(error)}};
}
