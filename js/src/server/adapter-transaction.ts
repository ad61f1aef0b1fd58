/** What all adapters make of a transaction of their library. */
import type {DBTransaction} from '../mutate/transaction.js';
import type {AST} from '../query/ast.js';
import type {Format} from '../query/internals.js';
import type {HumanReadable} from '../query/query.js';
import type {Schema} from '../schema/schema.js';
import {executePostgresQuery} from './execute-query.js';
import type {ServerSchema} from './server-schema.js';

/** Rows as a library gives them. */
export type ResultRows = Iterable<{[column: string]: unknown}>;

/** A library's transaction, and how a statement is run in it. */
export class AdapterTransaction<TWrapped> implements DBTransaction<TWrapped> {
  readonly wrappedTransaction: TWrapped;
  readonly #run: (sql: string, args: unknown[]) => PromiseLike<ResultRows>;

  constructor(wrapped: TWrapped, run: (sql: string, args: unknown[]) => PromiseLike<ResultRows>) {
    this.wrappedTransaction = wrapped;
    this.#run = run;
  }

  async query(sql: string, args: unknown[]): Promise<ResultRows> {
    return this.#run(sql, args);
  }

  runQuery<TReturn>(
    ast: AST,
    format: Format,
    schema: Schema,
    serverSchema: ServerSchema,
  ): Promise<HumanReadable<TReturn>> {
    return executePostgresQuery(this, ast, format, schema, serverSchema);
  }
}

/**
 * Runs the callback; throws also if a statement had failed and the callback went on regardless.
 *
 * Postgres answers the COMMIT of such a transaction with a rollback, and the libraries that this is for do not tell.
 */
export async function runToCommit<TWrapped, R>(
  tx: AdapterTransaction<TWrapped>,
  callback: (tx: DBTransaction<TWrapped>) => Promise<R>,
): Promise<R> {
  const result = await callback(tx);
  await tx.query('SELECT 1', []);
  return result;
}
