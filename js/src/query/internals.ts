import {h64} from '../hash.js';
import type {ReadonlyJSONValue} from '../json.js';
import type {AST} from './ast.js';
import {normalize} from './normalize.js';
import type {AnyQuery} from './query.js';

/** How an answer is shaped: one row or a list, and the same for each relationship. */
export interface Format {
  readonly singular: boolean;
  readonly relationships: {readonly [relationship: string]: Format};
}

/** The name and arguments under which the server knows a query; the arguments are `[]` or `[input]`. */
export interface CustomQueryID {
  readonly name: string;
  readonly args: readonly ReadonlyJSONValue[];
}

/** What the runtime needs of a query and applications do not. */
export interface QueryInternals {
  /** The query as data, in client names; not normalised, its ordering not completed. */
  readonly ast: AST;
  readonly format: Format;
  /** Set when the query came from a registry of named queries. */
  readonly customQueryID: CustomQueryID | undefined;
  /** The id under which the server is asked: of name and arguments, or of the AST. */
  hash(): string;
  /** The hash of the normalised AST, named or not. */
  astHash(): string;
  /** Queries with the same key can share one view. */
  viewKey(): string;
}

/** Registered globally, so that two copies of this module in one program understand each other's queries. */
export const queryInternalsTag: unique symbol = Symbol.for('landfall.queryInternals') as never;

/** The internals of a query. */
export function asQueryInternals(query: AnyQuery): QueryInternals {
  const internals = (query as {[queryInternalsTag]?: QueryInternals} | null | undefined)?.[queryInternalsTag];
  if (internals === undefined) {
    throw new TypeError('Not a query: expected one made by createBuilder or by a registry of queries.');
  }
  return internals;
}

/** The hash of a normalised AST. */
export function hashOfAST(ast: AST): string {
  return h64(JSON.stringify(normalize(ast)));
}

/** The hash of a named query. */
export function hashOfNameAndArgs(name: string, args: readonly ReadonlyJSONValue[]): string {
  return h64(`${name}:${JSON.stringify(args)}`);
}

/** Builds the internals of a query; hashes are computed when first asked for. */
export function queryInternals(ast: AST, format: Format, customQueryID: CustomQueryID | undefined): QueryInternals {
  const astHash = once(() => hashOfAST(ast));
  const hash = customQueryID === undefined ? astHash : once(() => hashOfNameAndArgs(customQueryID.name, customQueryID.args));
  // Texts and not their hashes: a map compares them faster than they can be hashed here.
  const viewKey = once(() =>
    JSON.stringify([customQueryID && [customQueryID.name, customQueryID.args], normalize(ast), format]),
  );
  return {ast, format, customQueryID, hash, astHash, viewKey};
}

function once(compute: () => string): () => string {
  let value: string | undefined;
  return () => (value ??= compute());
}
