import {h64} from './hash.js';
import type {Schema} from './schema/schema.js';

/** What tells the storage of one client group from that of another. */
export interface StorageIdentity {
  readonly userID: string | undefined;
  readonly storageKey: string;
  readonly mutateURL: string | undefined;
  readonly queryURL: string | undefined;
  readonly schema: Schema;
}

// Changes with the stored format: another format is another database, which an open old page cannot block.
const format = 4;
const prefix = 'landfall';

/** The name of the database of one client group: one user, one storage key, one schema. */
export function storageName(identity: StorageIdentity): string {
  const {userID, storageKey, mutateURL, queryURL, schema} = identity;
  const settings = h64(JSON.stringify({storageKey, mutateURL, queryURL}));
  return makeIDBName(`${userID ?? '__anonymous__'}:${settings}`, schemaVersionOf(schema));
}

/** The name of a database: of a client's `idbName` what stands before the format, and its `schemaVersion`. */
export function makeIDBName(name: string, schemaVersion?: string): string {
  return [prefix, name, format, ...(schemaVersion ? [schemaVersion] : [])].join(':');
}

/** Whether `name` is of the same client group as the database `storageName`, but of another schema or an earlier format. */
export function isEarlierStore(name: string, storageName: string): boolean {
  const same = storageName.slice(0, storageName.lastIndexOf(':', storageName.lastIndexOf(':') - 1) + 1);
  const [, itsFormat] = /^(\d+):[^:]+$/.exec(name.slice(same.length)) ?? [];
  return name.startsWith(same) && name !== storageName && itsFormat !== undefined && Number(itsFormat) <= format;
}

/** Whether a database was made by this package. */
export function isStorageName(name: string): boolean {
  return name.startsWith(`${prefix}:`);
}

const versions = new WeakMap<Schema, string>();

/** Tells schemas apart by what storage depends on: tables, columns with their types and names at the server, keys. */
export function schemaVersionOf(schema: Schema): string {
  const version = versions.get(schema) ?? versionOf(schema);
  versions.set(schema, version);
  return version;
}

function versionOf(schema: Schema): string {
  const tables = Object.entries(schema.tables).map(([name, table]) => [
    name,
    table.serverName ?? name,
    Object.entries(table.columns)
      .map(([column, {type, optional, serverName}]) => [column, serverName ?? column, type, optional])
      .sort(byName),
    table.primaryKey,
  ]);
  return h64(JSON.stringify(tables.sort(byName)));
}

function byName(a: readonly unknown[], b: readonly unknown[]): number {
  return String(a[0]) < String(b[0]) ? -1 : 1;
}
