import type {DefaultSchema} from '../default-types.js';
import {type CRUDKind, makeCRUD, type MutateCRUD, type SchemaCRUD} from '../mutate/crud.js';
import type {DBTransaction, ServerTransaction} from '../mutate/transaction.js';
import {builderFor} from '../query/create-builder.js';
import {asQueryInternals} from '../query/internals.js';
import {toQuery, type AnyQueryOrRequest} from '../query/query-registry.js';
import type {Schema} from '../schema/schema.js';
import {compileWrite} from './compile-write.js';
import {readServerSchema, type ServerSchema} from './server-schema.js';

/** Which mutation a transaction runs; for a transaction outside of any, an empty client and zero. */
export interface TransactionIdentity {
  readonly clientID: string;
  readonly mutationID: number;
}

/** Makes the `tx` of server-side mutators. */
export function serverTransaction<S extends Schema, TWrapped>(
  dbTransaction: DBTransaction<TWrapped>,
  schema: S,
  serverSchema: ServerSchema,
  identity: TransactionIdentity,
): ServerTransaction<S, TWrapped> {
  const mutate = serverCRUD(schema, dbTransaction, serverSchema);
  const run = async (queryOrRequest: AnyQueryOrRequest): Promise<unknown> => {
    const {ast, format} = asQueryInternals(toQuery(queryOrRequest, undefined));
    return dbTransaction.runQuery(ast, format, schema, serverSchema);
  };
  const legacy = schema.enableLegacyQueries
    ? builderFor(schema, {schema, system: 'client', runner: {run}})
    : undefined;
  return {
    location: 'server',
    reason: 'authoritative',
    clientID: identity.clientID,
    mutationID: identity.mutationID,
    dbTransaction,
    mutate,
    run,
    query: legacy,
  } as unknown as ServerTransaction<S, TWrapped>;
}

function serverCRUD<S extends Schema>(
  schema: S,
  dbTransaction: DBTransaction<unknown>,
  serverSchema: ServerSchema,
): SchemaCRUD<S> {
  return makeCRUD(schema, async op => {
    const write = compileWrite(op, serverSchema);
    if (write !== undefined) {
      await dbTransaction.query(write.sql, write.args);
    }
  });
}

/** @deprecated Use `CRUDMutatorFactory`. Makes the writes of a transaction, for a server schema that was read before. */
export function makeSchemaCRUD<S extends Schema>(
  schema: S,
): (dbTransaction: DBTransaction<unknown>, serverSchema: ServerSchema) => MutateCRUD<S> {
  return (dbTransaction, serverSchema) => serverCRUD(schema, dbTransaction, serverSchema);
}

/** Makes transactions of one schema; asks a database for its column types once. */
export class CRUDMutatorFactory<S extends Schema = DefaultSchema> {
  readonly #schema: S;
  #serverSchema: ServerSchema | undefined;

  constructor(schema: S) {
    this.#schema = schema;
  }

  /** Makes the `tx` for a mutation around a transaction of the database. */
  async createTransaction<TWrapped>(
    dbTransaction: DBTransaction<TWrapped>,
    clientID: string,
    mutationID: number,
  ): Promise<ServerTransaction<S, TWrapped>> {
    this.#serverSchema ??= await readServerSchema(dbTransaction, this.#schema);
    return serverTransaction(dbTransaction, this.#schema, this.#serverSchema, {clientID, mutationID});
  }

  /** @deprecated Use `createTransaction`. Writes one row, for a server schema that was read before. */
  createExecutor(
    dbTransaction: DBTransaction<unknown>,
    serverSchema: ServerSchema,
  ): (table: string, kind: CRUDKind, value: unknown) => Promise<void> {
    const mutate = serverCRUD<Schema>(this.#schema, dbTransaction, serverSchema);
    return (table, kind, value) => {
      const writes = mutate[table] as {[K in CRUDKind]: (value: unknown) => Promise<void>} | undefined;
      return writes === undefined ? Promise.reject(new TypeError(`Unknown table "${table}".`)) : writes[kind](value);
    };
  }

  /** Forgets the column types, so that the next transaction asks again. */
  forgetServerSchema(): void {
    this.#serverSchema = undefined;
  }
}
