import type {Schema} from './schema/schema.js';

/**
 * The place where an application registers its own types once, instead of passing them everywhere.
 *
 * ```ts
 * declare module 'landfall' {
 *   interface DefaultTypes {
 *     schema: typeof schema;
 *     context: {userID: string};
 *   }
 * }
 * ```
 */
export interface DefaultTypes {}

/** The bound of a registered schema. */
export type BaseDefaultSchema<T = DefaultTypes> = DefaultSchema<T>;

/** The bound of a registered context. */
export type BaseDefaultContext<T = DefaultTypes> = AcceptedContext<DefaultContext<T>>;

/** The registered schema, or any schema. */
export type DefaultSchema<T = DefaultTypes> = T extends {readonly schema: infer S extends Schema} ? S : Schema;

/** The registered context with read-only members, or `unknown`. */
export type DefaultContext<T = DefaultTypes> = T extends {readonly context: infer C} ? Readonly<C> : unknown;

/** The contexts of queries and mutators that a client of this context takes; any, when nothing is known of its own. */
export type AcceptedContext<C> = unknown extends C ? any : C;

/** The transaction type of the registered database provider, or `unknown`. */
export type DefaultWrappedTransaction<T = DefaultTypes> = T extends {
  readonly dbProvider: {transaction: (callback: infer TCallback, ...rest: never[]) => unknown};
}
  ? TCallback extends (tx: infer Tx, ...rest: never[]) => unknown
    ? WrappedOf<Tx>
    : unknown
  : unknown;

type WrappedOf<Tx> = Tx extends {readonly dbTransaction: {readonly wrappedTransaction: infer W}} ? W : unknown;
