import type {DBTransaction} from '../mutate/transaction.js';
import type {AST} from '../query/ast.js';
import type {Format} from '../query/internals.js';
import type {HumanReadable} from '../query/query.js';
import type {Schema} from '../schema/schema.js';
import {compileQuery} from './compile-query.js';
import type {ServerSchema} from './server-schema.js';

/** Answers an AST in client names by one SQL statement; what an adapter's `runQuery` is made of. */
export async function executePostgresQuery<TReturn>(
  dbTransaction: Pick<DBTransaction, 'query'>,
  ast: AST,
  format: Format,
  _schema: Schema,
  serverSchema: ServerSchema,
): Promise<HumanReadable<TReturn>> {
  const {sql, args, decode} = compileQuery(ast, format, serverSchema);
  const [row] = [...(await dbTransaction.query(sql, args))];
  return decode((row?.['result'] as string | null | undefined) ?? null) as HumanReadable<TReturn>;
}
