import type {StandardFailure, StandardSchemaV1} from './standard-schema.js';

/** The arguments of a query or mutator did not pass its validator. */
export class InputValidationError extends Error {
  override readonly name = 'InputValidationError';
  /** What the validator answered. */
  readonly result: StandardFailure;
  /** What crosses the wire. */
  readonly details: {readonly type: 'InputValidationError'; readonly result: StandardFailure};

  constructor(message: string, result: StandardFailure) {
    super(message);
    this.result = result;
    this.details = {type: 'InputValidationError', result};
  }
}

/** Runs a validator, if there is one, and returns what it made of the input. */
export function validateInput<TInput, TOutput>(
  kind: 'query' | 'mutator',
  name: string,
  input: TInput,
  validator: StandardSchemaV1<TInput, TOutput> | undefined,
): TOutput {
  if (validator === undefined) {
    return input as unknown as TOutput;
  }
  const result = validator['~standard'].validate(input);
  if (result instanceof Promise) {
    // Nobody waits for it, so a rejection would be reported as unhandled.
    result.catch(() => {});
    throw new TypeError(
      `Async validators are not supported. ${kind === 'query' ? 'Query' : 'Mutator'} name ${name}`,
    );
  }
  if (result.issues !== undefined) {
    const issues = result.issues.map(issue => issue.message).join(', ');
    throw new InputValidationError(`Validation failed for ${kind} ${name}: ${issues}`, result);
  }
  return result.value;
}
