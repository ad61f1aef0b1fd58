import {isStorageName} from './storage-name.js';

/** Deletes one database by its name (`zero.idbName`). Open clients of it, in other tabs too, let go of it first. */
export function dropDatabase(name: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const request = indexedDB.deleteDatabase(name);
    request.onsuccess = () => resolve();
    request.onerror = () => reject(request.error);
  });
}

/** Deletes every database that this package has made in this origin. */
export async function dropAllDatabases(): Promise<{dropped: string[]; errors: unknown[]}> {
  const names = (await indexedDB.databases()).flatMap(({name}) => (name !== undefined && isStorageName(name) ? [name] : []));
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
