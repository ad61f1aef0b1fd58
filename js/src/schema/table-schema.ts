import type {SchemaValue} from './schema-value.js';

/** The names of a table's primary key columns: at least one. */
export type PrimaryKey = readonly [string, ...string[]];

/** A table in its runtime shape. */
export interface TableSchema {
  readonly name: string;
  /** The table's name at the server, when it differs. */
  readonly serverName?: string | undefined;
  readonly columns: {readonly [column: string]: SchemaValue};
  readonly primaryKey: PrimaryKey;
  /** Unique keys beside the primary key; known to the types only, the database enforces them. */
  readonly uniqueKeys?: readonly (readonly string[])[] | undefined;
}
