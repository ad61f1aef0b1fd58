import {LandfallError} from './landfall-error.js';
import {isStorageName} from './storage-name.js';
import type {LogLevel, LogSink} from './zero-options.js';

const patienceMs = 10_000;

/** Where the clients store that a database is deleted of. Nothing is logged: what goes wrong rejects, or is returned. */
export interface DropDatabaseOptions {
  /** With `'mem'` there is nothing to delete: what clients hold in memory goes with them. */
  readonly kvStore?: 'idb' | 'mem' | undefined;
  readonly logLevel?: LogLevel | undefined;
  readonly logSinks?: readonly LogSink[] | undefined;
}

/**
 * Deletes one database by its name (`zero.idbName`). Open clients of it, in other tabs too, let go of it first. Rejects if
 * one does not within ten seconds, because its page stands still: the browser deletes the database when that page goes on or
 * is closed.
 */
export async function dropDatabase(name: string, options?: DropDatabaseOptions): Promise<void> {
  if (options?.kvStore === 'mem') {
    return;
  }
  const databases = factory();
  return new Promise((resolve, reject) => {
    const request = databases.deleteDatabase(name);
    // A page that stands still is not told that it is to let go, and until it is, the browser does not call this blocked.
    let why = 'A page that has it open does not answer';
    request.onblocked = () => (why = 'A page that has it open does not let go of it');
    const late = setTimeout(() => {
      reject(new LandfallError('storage', `The database ${name} is not deleted yet. ${why}: it is deleted as soon as that page is closed.`));
    }, patienceMs);
    request.onsuccess = () => {
      clearTimeout(late);
      resolve();
    };
    request.onerror = () => {
      clearTimeout(late);
      reject(request.error);
    };
  });
}

/** Deletes every database that this package has made in this origin. */
export async function dropAllDatabases(options?: DropDatabaseOptions): Promise<{dropped: string[]; errors: unknown[]}> {
  if (options?.kvStore === 'mem') {
    return {dropped: [], errors: []};
  }
  const names = (await factory().databases()).flatMap(({name}) => (name !== undefined && isStorageName(name) ? [name] : []));
  const dropped: string[] = [];
  const errors: unknown[] = [];
  for (const name of names) {
    try {
      await dropDatabase(name);
      dropped.push(name);
    } catch (error) {
      errors.push(error);
    }
  }
  return {dropped, errors};
}

function factory(): IDBFactory {
  if (typeof indexedDB === 'undefined' || indexedDB === null) {
    throw new LandfallError('storage', 'There is no IndexedDB here, so there are no databases to delete: what clients hold is in memory, and goes with them.');
  }
  return indexedDB;
}
