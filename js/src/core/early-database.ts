/** Opens a client's database while the module is on its way: what there is to read is asked for that much earlier. */

/**
 * Begins to open a database if it is among `names`. The result gives it when it is wanted, to one who then owns it;
 * nothing if it is not open by then, and it will not stay open later.
 */
export function openEarly(name: string, names: Promise<readonly string[]>): () => IDBDatabase | undefined {
  let database: IDBDatabase | undefined;
  let isWanted = true;
  const letGo = () => {
    database?.close();
    database = undefined;
  };
  const open = () => {
    const request = indexedDB.open(name, 1);
    // It was deleted meanwhile. To make it anew is left to whoever knows what belongs into it.
    request.onupgradeneeded = () => request.transaction?.abort();
    request.onerror = event => event.preventDefault();
    request.onsuccess = () => {
      database = request.result;
      if (!isWanted) {
        return letGo();
      }
      // Whoever wants to delete it does not wait for this page; one that the browser has closed is of no use.
      database.onversionchange = letGo;
      database.onclose = letGo;
    };
  };
  // Without it the database is opened later.
  names.then(known => isWanted && known.includes(name) && open()).catch(() => {});
  return () => {
    const opened = database;
    isWanted = false;
    database = undefined;
    return opened;
  };
}
