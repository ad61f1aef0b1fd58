import {LandfallError} from './landfall-error.js';
import {isStorageName} from './storage-name.js';

/** Deletes one database by its name (`zero.idbName`). Open clients of it, in other tabs too, let go of it first. */
export async function dropDatabase(name: string): Promise<void> {
  const databases = factory();
  return new Promise((resolve, reject) => {
    const request = databases.deleteDatabase(name);
    request.onsuccess = () => resolve();
    request.onerror = () => reject(request.error);
  });
}

/** Deletes every database that this package has made in this origin. */
export async function dropAllDatabases(): Promise<{dropped: string[]; errors: unknown[]}> {
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
