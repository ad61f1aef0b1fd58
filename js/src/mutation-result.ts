/** What the application is told of mutations, made of what the core reports. */
import type {ListedMutation, MutationError, MutationOutcome} from './core/mutation-outcome.js';
import type {ReadonlyJSONValue} from './json.js';
import type {MutatorResultDetails, MutatorResultErrorDetails} from './mutate/mutator-result.js';
import type {PendingMutation} from './pending-mutation.js';

export const success: MutatorResultDetails = Object.freeze({type: 'success'});

export function resultOf(outcome: MutationOutcome): MutatorResultDetails {
  switch (outcome.type) {
    case 'confirmed':
      return success;
    case 'failed':
      return failure(outcome.error);
    case 'uncertain':
      return zeroError('The server no longer knows whether this mutation was applied.');
  }
}

export function failure({type, message, detailsJson}: MutationError): MutatorResultErrorDetails {
  if (type === 'zero') {
    return zeroError(message);
  }
  const details = detailsJson === undefined ? undefined : (JSON.parse(detailsJson) as ReadonlyJSONValue);
  return {type: 'error', error: {type: 'app', message, details}};
}

export function zeroError(message: string): MutatorResultErrorDetails {
  return {type: 'error', error: {type: 'zero', message}};
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
