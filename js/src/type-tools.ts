/** Shows an intersection as one object type, so that an editor prints its members. */
export type Expand<T> = T extends infer O ? {[K in keyof O]: O[K]} : never;

/** A value or a promise of it. */
export type MaybePromise<T> = T | Promise<T>;

/** What counts as "no query" for the React hooks. */
export type Falsy = null | undefined | false | '' | 0;
