/**
 * The page of `bench:client`: one client of either kind, its storage and its server.
 * Each function is one visit; the command opens a fresh page for each.
 */
import * as landfall from 'landfall';
import * as zero from '@rocicorp/zero';
import {issuesOf, type Module, program, type Program} from './client-program.ts';
import {quiet, type Tasks, watchSockets, watchStorage, watchTasks} from './client-watch.ts';
import {watchModules, wasmBytes} from './memory.ts';
import {pause} from './waiting.ts';

export interface Visit {
  readonly client: 'landfall' | 'zero';
  readonly server: string;
  /** Rows that the client holds. */
  readonly rows: number;
  /** Names the storage: another name is another client group. */
  readonly user: string;
}

type View = {readonly data: any; addListener(listener: (data: any, type: string) => void): () => void; destroy(): void};
type Client = {
  materialize(query: any): View;
  preload(query: any, options?: object): {readonly complete: Promise<void>};
  mutate(request: any): {readonly client: Promise<{type: string}>; readonly durable?: Promise<{type: string}>};
  close(): Promise<unknown>;
};

const received = watchSockets();
const stored = watchStorage();
const tasks = watchTasks();
watchModules();

const now = () => performance.now();
const six = (queries: Program['queries']) => [
  queries.related(), queries.filter(), queries.orderLimit(), queries.owned(), queries.exists(), queries.one({id: '0000007'}),
];

function open({client, server, user}: Visit): {zero: Client; its: Program} {
  const module = (client === 'landfall' ? landfall : zero) as unknown as Module;
  const its = program(module);
  const options = {
    schema: its.schema, mutators: its.mutators, userID: user, auth: user, cacheURL: server, kvStore: 'idb', logLevel: 'error',
    ...(client === 'landfall' ? {wasm: new URL('/landfall_bg.wasm', location.href)} : {}),
  };
  return {zero: new module.Zero(options as never) as unknown as Client, its};
}

function preload(zero: Client, its: Program, rows: number): Promise<unknown> {
  const issues = issuesOf(rows);
  return Promise.all([
    zero.preload(its.queries.issues({limit: issues}), {ttl: '10m'}).complete,
    zero.preload(its.queries.comments({limit: rows - issues}), {ttl: '10m'}).complete,
  ]);
}

/** Resolves when the view shows what `check` wants. */
function shows(view: View, check: (data: any) => boolean): Promise<void> {
  return new Promise(resolve => {
    if (check(view.data)) {
      resolve();
      return;
    }
    const stop = view.addListener(data => {
      if (check(data)) {
        // Not within the listener's first call, which may come before it is known how to stop.
        queueMicrotask(() => stop());
        resolve();
      }
    });
  });
}

const fifty = (data: any) => data.length === 50 && data.some((row: any) => row.comments.length > 0);

async function start(visit: Visit, list: (its: Program) => any) {
  const start = now();
  const {zero, its} = open(visit);
  const view = zero.materialize(list(its));
  const complete = preload(zero, its, visit.rows);
  await shows(view, fifty);
  const first = now() - start;
  const starting = await tasks();
  await complete;
  const connecting = await tasks();
  const before = now();
  const views = six(its.queries).slice(1).map(query => zero.materialize(query));
  await Promise.all(views.map(it => shows(it, data => (Array.isArray(data) ? data.length > 0 : data !== undefined))));
  const hydrate = now() - before;
  return {first, hydrate, starting, connecting, hydrating: await tasks()};
}

const visits = {
  /** An empty store takes all rows from the server. */
  async fill(visit: Visit) {
    const start = now();
    const {zero, its} = open(visit);
    await preload(zero, its, visit.rows);
    const end = now();
    const loading = await tasks();
    await quiet(stored, 3000);
    const storing = await tasks();
    return {
      // The server's time is not the client's: what counts is the work on each message, and all from the last one on.
      total: end - start, receiving: received.last - received.first, applied: received.handling + end - received.last,
      characters: received.characters, stored: stored.complete - end, loading, storing,
    };
  },

  /** The rows are in storage; a list with one related is shown that was shown last time, then five more queries. */
  cold: (visit: Visit) => start(visit, its => its.queries.related()),

  /** The same with a list that was never shown. */
  anew: (visit: Visit) => start(visit, its => its.queries.relatedBut({title: `not ${Date.now()}`})),

  /** With six queries open: optimistic updates one by one, then how long it takes until changes are stored. */
  async writes(visit: Visit) {
    const {zero, its} = open(visit);
    const complete = preload(zero, its, visit.rows);
    const views = six(its.queries).map(query => zero.materialize(query));
    await shows(views[0]!, fifty);
    await complete;
    await quiet(stored, 1500);
    await tasks();
    let modified = Date.now();
    // An issue that is shown, so that a view changes.
    const write = (n: number) => ({id: views[2]!.data[10 + (n % 30)].id, title: `written ${n}`, modified: modified++});
    const list: number[] = [];
    for (let n = 0; n < 40; n++) {
      const args = write(n);
      const start = now();
      const done = shows(views[2]!, data => data[0]?.title === args.title);
      const result = zero.mutate(its.mutators.update(args as never)).client;
      await done;
      list.push(now() - start);
      if ((await result).type === 'error') {
        throw new Error('a write was refused');
      }
      await pause(20);
    }
    const updates = await tasks();
    list.sort((a, b) => a - b);
    await quiet(stored, 1500);
    const persist = async (count: number) => {
      const puts = stored.puts;
      const start = now();
      const made = Array.from({length: count}, (_, n) => zero.mutate(its.mutators.update(write(1000 + n) as never)));
      await Promise.all(made.map(it => it.client));
      const durable = visit.client === 'landfall' ? await Promise.all(made.map(it => it.durable)).then(() => now() - start) : undefined;
      await quiet(stored, 2000);
      return {durable, quiet: stored.complete - start, puts: stored.puts - puts};
    };
    const one = await persist(1);
    const hundred = await persist(100);
    return {update: list[list.length >> 1], updateWorst: list.at(-1), updates, one, hundred, persisting: await tasks()};
  },

  /** With six queries open and 100 writes that the server does not get: changes of others arrive. */
  async rebase(visit: Visit) {
    const {zero, its} = open(visit);
    const complete = preload(zero, its, visit.rows);
    const views = six(its.queries).map(query => zero.materialize(query));
    await shows(views[0]!, fifty);
    await complete;
    received.holdsWrites = true;
    const made = Array.from({length: 100}, (_, n) =>
      zero.mutate(its.mutators.update({id: views[2]!.data[n % 50].id, description: `pending ${n}`} as never)));
    await Promise.all(made.map(it => it.client));
    await quiet(stored, 1500);
    await tasks();
    const list: number[] = [];
    for (let n = 0; n < 10; n++) {
      const title = `touched ${n} ${Math.random()}`;
      const done = shows(views[2]!, data => data[0]?.title === title);
      await benchTouch(title, Date.now());
      await done;
      list.push(now() - received.last);
      await pause(50);
    }
    list.sort((a, b) => a - b);
    return {rebase: list[list.length >> 1], rebaseWorst: list.at(-1), rebasing: await tasks()};
  },

  /** Rows in memory and no view. The heap is asked from outside. */
  async memory(visit: Visit) {
    const before = await benchHeap();
    const {zero, its} = open(visit);
    await preload(zero, its, visit.rows);
    await quiet(stored, 3000);
    const heap = (await benchHeap()) - before;
    const wasm = wasmBytes();
    await zero.close();
    return {heap, wasm};
  },

  /** The bytes of the storage, read and nothing else. */
  async raw({user}: Visit) {
    const names = (await indexedDB.databases()).map(({name}) => name!).filter(name => name.includes(user));
    const done = <T>(request: IDBRequest<T>) =>
      new Promise<T>((resolve, reject) => {
        request.onsuccess = () => resolve(request.result);
        request.onerror = () => reject(request.error);
      });
    const start = now();
    let bytes = 0;
    for (const name of names) {
      const database = await done(indexedDB.open(name));
      for (const store of database.objectStoreNames) {
        for (const value of await done(database.transaction(store).objectStore(store).getAll())) {
          bytes += value?.byteLength ?? value?.buffer?.byteLength ?? 0;
        }
      }
      database.close();
    }
    return {ms: now() - start, bytes, databases: names.length};
  },
};

export type Visits = typeof visits;
export type {Tasks};

declare global {
  /** Somebody else changes ten issues, the first of which becomes the newest, with the title. */
  function benchTouch(title: string, modified: number): Promise<void>;
  var benchVisits: Visits;
}
globalThis.benchVisits = visits;
