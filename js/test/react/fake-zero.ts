import type {QueryResultDetails, TTL, ViewStore} from '../../src/index.js';
import {asQueryInternals} from '../../src/query/internals.js';
import {unknownDetails} from '../../src/query/view-store.js';

type Data = readonly unknown[] | object | undefined;

/** A store as the client makes them: same tuple until something changes, dropped views come back when subscribed to. */
export class FakeStore implements ViewStore<Data> {
  readonly listeners = new Set<() => void>();
  readonly ttls: TTL[] = [];
  retries = 0;
  #snapshot: readonly [Data, QueryResultDetails];

  constructor(data: Data) {
    this.#snapshot = [data, unknownDetails];
  }

  subscribe(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  getSnapshot(): readonly [Data, QueryResultDetails] {
    return this.#snapshot;
  }

  updateTTL(ttl: TTL): void {
    this.ttls.push(ttl);
  }

  retry(): void {
    this.retries++;
  }

  set(data: Data, details: QueryResultDetails = this.#snapshot[1]): void {
    this.#snapshot = [data, details];
    for (const listener of this.listeners) {
      listener();
    }
  }
}

/** A client that has views and a connection, and no data of its own. */
export class FakeZero {
  readonly context = {userID: 'u1'};
  readonly stores = new Map<string, FakeStore>();
  readonly options: {readonly [name: string]: unknown};
  closed = false;
  readonly connected: unknown[] = [];
  readonly #stateListeners = new Set<() => void>();
  readonly connection;

  constructor(options: {readonly [name: string]: unknown} = {}) {
    this.options = options;
    const listeners = this.#stateListeners;
    const state = {
      current: {name: 'connecting'},
      subscribe(listener: () => void) {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
    };
    this.connection = {state, connect: async (how: unknown) => void this.connected.push(how)};
  }

  viewStore(query: never): FakeStore {
    const internals = asQueryInternals(query);
    const key = internals.viewKey();
    const store = this.stores.get(key) ?? new FakeStore(internals.format.singular ? undefined : []);
    this.stores.set(key, store);
    return store;
  }

  get onlyStore(): FakeStore {
    const [store, ...others] = this.stores.values();
    if (store === undefined || others.length > 0) {
      throw new Error(`${this.stores.size} views where one was expected`);
    }
    return store;
  }

  setState(name: string): void {
    this.connection.state.current = {name};
    for (const listener of this.#stateListeners) {
      listener();
    }
  }

  async close(): Promise<void> {
    this.closed = true;
  }
}
