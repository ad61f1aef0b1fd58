/** The part of the Standard Schema interface (version 1) that validators of zod, valibot, arktype and others share. */
export interface StandardSchemaV1<TInput = unknown, TOutput = TInput> {
  readonly '~standard': {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown) => StandardResult<TOutput> | Promise<StandardResult<TOutput>>;
    readonly types?: {readonly input: TInput; readonly output: TOutput} | undefined;
  };
}

/** What a validator answers. */
export type StandardResult<TOutput> = StandardSuccess<TOutput> | StandardFailure;

/** The input was fine; `value` is what the validator made of it. */
export interface StandardSuccess<TOutput> {
  readonly value: TOutput;
  readonly issues?: undefined;
}

/** The input was refused. */
export interface StandardFailure {
  readonly issues: readonly StandardIssue[];
}

/** One reason why an input was refused. */
export interface StandardIssue {
  readonly message: string;
  readonly path?: readonly (PropertyKey | {readonly key: PropertyKey})[] | undefined;
}
