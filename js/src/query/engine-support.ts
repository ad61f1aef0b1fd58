/**
 * The features of the query language that an engine may lack.
 *
 * The options `flip` and `scalar` are not among them: they are hints that never change an answer.
 */
export interface EngineSupport {
  /** `whereExists` and `exists`. */
  readonly exists: boolean;
  /** `not(exists(…))`. */
  readonly notExists: boolean;
  /** `related` through a junction table. */
  readonly junctions: boolean;
}

/**
 * What the engine of this version can run.
 *
 * This is the only place that says so: a query that needs more throws when it is built, and never gives a wrong result.
 */
export const engineSupport: EngineSupport = {
  exists: true,
  notExists: true,
  junctions: true,
};

/** Support for the whole language: what queries compiled to SQL have. */
export const wholeLanguage: EngineSupport = {
  exists: true,
  notExists: true,
  junctions: true,
};

const names: {readonly [K in keyof EngineSupport]: string} = {
  exists: 'exists and whereExists',
  notExists: 'not(exists(…))',
  junctions: 'relationships through a junction table',
};

/** A query used a part of the language that this version cannot run yet. */
export class UnsupportedQueryError extends Error {
  override readonly name = 'UnsupportedQueryError';
  /** The feature that is missing. */
  readonly feature: keyof EngineSupport;

  constructor(feature: keyof EngineSupport, where: string) {
    super(`This version of Landfall cannot run ${names[feature]} yet (${where}).`);
    this.feature = feature;
  }
}

/** Throws when `support` lacks a feature; `where` says which part of which query asked for it. */
export function requireSupport(support: EngineSupport, feature: keyof EngineSupport, where: string): void {
  if (!support[feature]) {
    throw new UnsupportedQueryError(feature, where);
  }
}
