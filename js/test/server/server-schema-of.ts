import type {Schema} from '../../src/schema/schema.js';
import {readServerSchema, type CatalogReader, type ServerSchema} from '../../src/server/server-schema.js';

let cached: Promise<ServerSchema> | undefined;

/** The server schema of the one database of this test file. */
export function serverSchemaOf(tx: {readonly dbTransaction: CatalogReader}, schema: Schema): Promise<ServerSchema> {
  return (cached ??= readServerSchema(tx.dbTransaction, schema));
}
