/** What happens around a client: messages that arrive, transactions of IndexedDB, tasks that hold up the page. */
import {pause} from './waiting.ts';

export interface Received {
  /** Moments of the first part and of the end of the latest poke. */
  first: number;
  last: number;
  characters: number;
  /** Time that the client has spent in its listeners of messages before the latest end of a poke. */
  handling: number;
  /** While it is set, the client's writes do not reach the server. */
  holdsWrites: boolean;
}

/** Follows what the sockets of the page receive from now on. */
export function watchSockets(): Received {
  const received: Received = {first: 0, last: 0, characters: 0, handling: 0, holdsWrites: false};
  let handled = 0;
  const note = (data: unknown) => {
    const text = typeof data === 'string' ? data : '';
    if (text.startsWith('["pokePart"')) {
      received.first ||= performance.now();
      received.characters += text.length;
    }
    if (text.startsWith('["pokeEnd"')) {
      received.handling = handled;
      received.last = performance.now();
    }
  };
  type Listener = (event: MessageEvent) => void;
  const Real = globalThis.WebSocket;
  globalThis.WebSocket = class extends Real {
    #message: Listener | null = null;

    constructor(url: string | URL, protocols?: string | string[]) {
      super(url, protocols);
      // Before any listener of the client.
      super.addEventListener('message', ({data}: MessageEvent) => note(data));
      super.addEventListener('message', (event: MessageEvent) => this.#time(this.#message, event));
    }

    #time(listener: Listener | null, event: MessageEvent): void {
      const start = performance.now();
      listener?.call(this, event);
      handled += performance.now() - start;
    }

    override send(data: Parameters<WebSocket['send']>[0]): void {
      if (!(received.holdsWrites && typeof data === 'string' && data.startsWith('["push"'))) {
        super.send(data);
      }
    }

    override set onmessage(listener: Listener | null) {
      this.#message = listener;
    }

    override get onmessage(): Listener | null {
      return this.#message;
    }

    override addEventListener(type: string, listener: any, options?: any): void {
      const its = type === 'message' ? (event: MessageEvent) => this.#time(listener, event) : listener;
      super.addEventListener(type, its, options);
    }
  };
  return received;
}

export interface Stored {
  /** When the latest transaction that writes was complete. */
  complete: number;
  open: number;
  puts: number;
}

/** Follows all transactions that write, of every database. */
export function watchStorage(): Stored {
  const stored: Stored = {complete: 0, open: 0, puts: 0};
  const {transaction} = IDBDatabase.prototype;
  IDBDatabase.prototype.transaction = function (this: IDBDatabase, ...args: Parameters<typeof transaction>) {
    const made = transaction.apply(this, args);
    if (made.mode === 'readwrite') {
      stored.open++;
      const end = () => {
        stored.open--;
        stored.complete = performance.now();
      };
      made.addEventListener('complete', end);
      made.addEventListener('abort', end);
    }
    return made;
  };
  const {put} = IDBObjectStore.prototype;
  IDBObjectStore.prototype.put = function (this: IDBObjectStore, ...args: Parameters<typeof put>) {
    stored.puts++;
    return put.apply(this, args);
  };
  return stored;
}

/** Waits until nothing has been written for a while. */
export async function quiet(stored: Stored, forMs: number, limitMs = 60_000): Promise<void> {
  const end = performance.now() + limitMs;
  let since = performance.now();
  for (;;) {
    await pause(20);
    const now = performance.now();
    if (stored.open > 0) {
      since = now;
    }
    if (now - Math.max(since, stored.complete) > forMs) {
      return;
    }
    if (now > end) {
      throw new Error(`IndexedDB is not quiet within ${limitMs} ms`);
    }
  }
}

export interface Tasks {
  /** Longest task in ms, and how many were longer than 50. */
  readonly longest: number;
  readonly over50: number;
}

/** Long tasks of the page; `end` gives those since the call before. */
export function watchTasks() {
  let tasks: number[] = [];
  const observer = new PerformanceObserver(list => {
    tasks.push(...list.getEntries().map(({duration}) => duration));
  });
  observer.observe({type: 'longtask', buffered: true});
  return async (): Promise<Tasks> => {
    // Entries come a little later than the tasks.
    await pause(300);
    tasks.push(...observer.takeRecords().map(({duration}) => duration));
    const found = tasks;
    tasks = [];
    return {longest: Math.max(0, ...found), over50: found.filter(it => it > 50).length};
  };
}
