import type {DefaultSchema, DefaultWrappedTransaction} from '../default-types.js';
import type {ReadonlyJSONValue} from '../json.js';
import type {AST} from '../query/ast.js';
import type {Format} from '../query/internals.js';
import type {ConditionalSchemaQuery, HumanReadable} from '../query/query.js';
import type {QueryOrQueryRequest} from '../query/query-registry.js';
import type {RunOptions} from '../query/run-options.js';
import type {Schema} from '../schema/schema.js';
import type {SchemaCRUD} from './crud.js';

/** Where a mutator runs. */
export type Location = 'client' | 'server';

/** Why a mutator runs: first at the client, again on top of newer data, or for good at the server. */
export type TransactionReason = 'optimistic' | 'rebase' | 'authoritative';

/** What transactions of client and server have in common. */
export interface TransactionBase<S extends Schema> {
  readonly clientID: string;
  /** The number of the mutation among those of its client. */
  readonly mutationID: number;
  /** Writes rows. */
  readonly mutate: SchemaCRUD<S>;
  /** Answers a query inside the transaction. */
  run<
    TTable extends keyof TSchema['tables'] & string,
    TInput extends ReadonlyJSONValue | undefined,
    TOutput extends ReadonlyJSONValue | undefined,
    TSchema extends Schema,
    TReturn,
  >(
    query: QueryOrQueryRequest<TTable, TInput, TOutput, TSchema, TReturn, any>,
    options?: RunOptions,
  ): Promise<HumanReadable<TReturn>>;
  /** @deprecated Use `run` with a query of `createBuilder`. */
  readonly query: ConditionalSchemaQuery<S>;
}

/** A transaction on the client's data. */
export interface ClientTransaction<S extends Schema = DefaultSchema> extends TransactionBase<S> {
  readonly location: 'client';
  readonly reason: 'optimistic' | 'rebase';
}

/** A transaction on the database. */
export interface ServerTransaction<S extends Schema = DefaultSchema, TWrapped = DefaultWrappedTransaction>
  extends TransactionBase<S> {
  readonly location: 'server';
  readonly reason: 'authoritative';
  readonly dbTransaction: DBTransaction<TWrapped>;
}

/** What a mutator reads and writes through; `location` tells which kind it is. */
export type Transaction<S extends Schema = DefaultSchema, TWrapped = DefaultWrappedTransaction> =
  | ClientTransaction<S>
  | ServerTransaction<S, TWrapped>;

/** A transaction of any schema. */
export type AnyTransaction = Transaction<any, any>;

/** A transaction of the database's own client, as an adapter shows it. */
export interface DBTransaction<TWrapped = unknown> {
  /** Runs SQL with positional parameters. */
  query(sql: string, args: unknown[]): Promise<Iterable<{[column: string]: unknown}>>;
  /** Answers a query given as an AST in client names. */
  runQuery<TReturn>(ast: AST, format: Format, schema: Schema, serverSchema: unknown): Promise<HumanReadable<TReturn>>;
  /** The transaction object of the database's own client. */
  readonly wrappedTransaction: TWrapped;
}
