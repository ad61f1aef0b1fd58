import {type ListShape, shapeOf} from '../core/view-tree.js';
import {h64} from '../hash.js';
import type {ReadonlyJSONValue} from '../json.js';
import type {Schema} from '../schema/schema.js';
import type {AST} from './ast.js';
import {normalText} from './normalize.js';
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
export interface QueryInternals<_TTable extends keyof S['tables'] & string = any, S extends Schema = any, _TReturn = any> {
  /** The query as data, in client names; not normalised, its ordering not completed. */
  readonly ast: AST;
  readonly format: Format;
  /** Set when the query came from a registry of named queries. */
  readonly customQueryID: CustomQueryID | undefined;
  /** The query as text. */
  readonly astJSON: string;
  /** How the answer is built from rows. */
  readonly shape: ListShape;
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
  return h64(normalText(ast));
}

/** The hash of a named query. */
export function hashOfNameAndArgs(name: string, args: readonly ReadonlyJSONValue[]): string {
  return h64(`${name}:${JSON.stringify(args)}`);
}

/** The internals of a query; what is derived is computed when first asked for. */
export function queryInternals(ast: AST, format: Format, customQueryID: CustomQueryID | undefined): QueryInternals {
  return new Internals(ast, format, customQueryID);
}

class Internals implements QueryInternals {
  readonly ast: AST;
  readonly format: Format;
  readonly customQueryID: CustomQueryID | undefined;
  #astJSON: string | undefined;
  #shape: ListShape | undefined;
  #hash: string | undefined;
  #astHash: string | undefined;
  #viewKey: string | undefined;

  constructor(ast: AST, format: Format, customQueryID: CustomQueryID | undefined) {
    this.ast = ast;
    this.format = format;
    this.customQueryID = customQueryID;
  }

  get astJSON(): string {
    return (this.#astJSON ??= JSON.stringify(this.ast));
  }

  get shape(): ListShape {
    return (this.#shape ??= shapeOf(this.ast, this.format));
  }

  hash(): string {
    const id = this.customQueryID;
    return (this.#hash ??= id === undefined ? this.astHash() : hashOfNameAndArgs(id.name, id.args));
  }

  astHash(): string {
    return (this.#astHash ??= hashOfAST(this.ast));
  }

  // Texts and not their hashes: a map compares them faster than they can be hashed here.
  // Not of the normal form: an application that writes a query in two ways has two views of it, and need not be
  // charged for that each time it asks.
  viewKey(): string {
    const id = this.customQueryID;
    return (this.#viewKey ??= `${id === undefined ? '' : JSON.stringify([id.name, id.args])}${this.astJSON}${JSON.stringify(this.format)}`);
  }
}
