/** What the application sees of mutations that the server has not confirmed. */
import type {Source} from './connection.js';
import type {ReadonlyJSONValue} from './json.js';
import type {MutatorResultErrorDetails} from './mutate/mutator-result.js';

/** A mutation that the server has not confirmed. */
export interface PendingMutation {
  /** The client that made it: another tab, an earlier session, or this one. */
  readonly clientID: string;
  readonly id: number;
  /** The mutator's name. */
  readonly name: string;
  readonly args: ReadonlyJSONValue | undefined;
  /**
   * `pending`: it will be sent, or its answer is awaited. `failed`: refused, and rolled back.
   * `uncertain`: it was sent, and the server forgot this client before it answered.
   */
  readonly state: 'pending' | 'failed' | 'uncertain';
  /** Why it failed, for people. */
  readonly reason?: string;
  readonly error?: MutatorResultErrorDetails['error'];
}

/**
 * The mutations that are not confirmed, oldest first; failed and uncertain ones stay until they are cleared.
 * One that has not changed is the same object in the next list.
 */
export interface PendingMutations extends Source<readonly PendingMutation[]> {
  /** Forgets a failed or uncertain mutation that the user has seen. */
  clear(mutation: Pick<PendingMutation, 'clientID' | 'id'>): void;
}
