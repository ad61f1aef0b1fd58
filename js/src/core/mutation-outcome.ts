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
