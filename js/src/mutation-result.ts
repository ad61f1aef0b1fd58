/** What a mutation's promises resolve to, of what the core reports. */
import type {MutationError, MutationOutcome} from './core/mutation-outcome.js';
import type {ReadonlyJSONValue} from './json.js';
import type {MutatorResultDetails, MutatorResultErrorDetails} from './mutate/mutator-result.js';

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
