/** What the application sees of mutations that the server has not confirmed. */
import type {Source} from './connection.js';
import type {ListedMutation} from './core/mutation-outcome.js';
import type {ReadonlyJSONValue} from './json.js';
import type {MutatorResultErrorDetails} from './mutate/mutator-result.js';
import {resultOf} from './mutation-result.js';

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

/** A mutation of the core's list as the application sees it. */
export function pendingMutation({clientId, mutationId, name, argsJson, outcome}: ListedMutation): PendingMutation {
  const base = {clientID: clientId, id: mutationId, name, args: (JSON.parse(argsJson) as ReadonlyJSONValue[])[0]};
  const result = outcome === null ? undefined : resultOf(outcome);
  if (result?.type !== 'error') {
    return {...base, state: 'pending'};
  }
  const state = outcome?.type === 'failed' ? 'failed' : 'uncertain';
  return {...base, state, reason: result.error.message, error: result.error};
}
