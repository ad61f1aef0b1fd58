/** Plain mutator functions on a database's transaction, in a tree; see the client's of the same name. */
export interface CustomMutatorDefs<TDBTransaction> {
  readonly [name: string]: CustomMutatorImpl<TDBTransaction, any, any> | CustomMutatorDefs<TDBTransaction>;
}

/** A plain mutator function on a database's transaction. */
export type CustomMutatorImpl<TDBTransaction, TArgs = any, TContext = unknown> = (
  tx: TDBTransaction,
  args: TArgs,
  ctx: TContext,
) => Promise<void>;
