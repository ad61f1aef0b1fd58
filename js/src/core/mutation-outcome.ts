/** How the core reports the ends of mutations. */

/** An error as the core keeps it. */
export interface MutationError {
  readonly type: 'app' | 'zero';
  readonly message: string;
  readonly detailsJson?: string;
}

/** How a mutation ended, as the core reports it. */
export type MutationOutcome =
  | {readonly type: 'confirmed'}
  | {readonly type: 'failed'; readonly error: MutationError}
  | {readonly type: 'uncertain'};

/** A mutation as the core lists it. */
export interface ListedMutation {
  readonly clientId: string;
  readonly mutationId: number;
  readonly name: string;
  readonly argsJson: string;
  readonly outcome: MutationOutcome | null;
}
