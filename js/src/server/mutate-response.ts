import type {ReadonlyJSONValue} from '../json.js';
import type {MutationID} from './push-request.js';

/** What became of one mutation. */
export type MutationResult =
  | {readonly data?: ReadonlyJSONValue | undefined}
  | {readonly error: 'app'; readonly message: string; readonly details?: ReadonlyJSONValue | undefined}
  | {readonly error: 'alreadyProcessed'; readonly details?: ReadonlyJSONValue | undefined};

/** What became of one mutation, and of which. */
export interface MutationResponse {
  readonly id: MutationID;
  readonly result: MutationResult;
}

/** Why a whole push failed. */
export type PushFailedReason = 'database' | 'parse' | 'oooMutation' | 'unsupportedPushVersion' | 'internal';

/** The answer when a push could not be carried on with; the mutations named were not run. */
export interface PushFailed {
  readonly kind: 'PushFailed';
  readonly origin: 'server';
  readonly reason: PushFailedReason;
  readonly message: string;
  readonly mutationIDs: readonly MutationID[];
  readonly details?: ReadonlyJSONValue | undefined;
}

/** The answer of the mutate endpoint. */
export type MutateResponse =
  | {
      readonly kind: 'MutateResponse';
      readonly mutations: readonly MutationResponse[];
      readonly userID?: string | null | undefined;
    }
  | PushFailed;
