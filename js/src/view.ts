/** Live answers: one shared view for each query, kept by those who use it. */
import type {Core, CoreView, QuerySource, ViewListener} from './core/core.js';
import type {ViewStatus} from './core/flush.js';
import type {Snapshot} from './core/view-tree.js';
import {messageOf} from './landfall-error.js';
import type {QueryInternals} from './query/internals.js';
import {parseTTL, type TTL} from './query/ttl.js';
import type {ErroredQuery} from './query/view-factory.js';
import {
  type Listener,
  type QueryErrorDetails,
  type QueryResultDetails,
  type TypedView,
  unknownDetails,
  type ViewStore,
} from './query/view-store.js';
import {reportError} from './state-source.js';

type Answer = readonly [Snapshot, QueryResultDetails];

// Covers StrictMode's second mount, quick navigation, and a first render that is thrown away.
const lingerMs = 50;
const lingerUnusedMs = 2000;

const emptyList: readonly never[] = Object.freeze([]);
const complete: QueryResultDetails = Object.freeze({type: 'complete'});

/** What the views of one client have in common. */
export interface ViewOwner {
  /** Calls back with the core: at once if it is there, else when it is. */
  whenCore(use: (core: Core) => void): void;
  /** How the server hears of a query. */
  sourceOf(query: QueryInternals): QuerySource;
  /** A view of the query has been opened. */
  opened(query: QueryInternals): void;
  /** Its view is about to be dropped. */
  dropping(query: QueryInternals): void;
  /** The query of a view cannot be answered. */
  failed(query: QueryInternals, message: string): void;
  /** The server has confirmed a view's answer, so many milliseconds after it was opened. */
  completed(query: QueryInternals, ms: number): void;
}

/** The views of one client, by query. */
export class Views {
  readonly #owner: ViewOwner;
  readonly #byKey = new Map<string, SharedView>();
  // Also those that are no longer found by their key, but still subscribed to.
  readonly #open = new Set<SharedView>();
  #ended: QueryErrorDetails | undefined;

  constructor(owner: ViewOwner) {
    this.#owner = owner;
  }

  /** The view of this query, the same one while it lives; without a subscriber it ends again soon. */
  get(query: QueryInternals, ttl: TTL): SharedView {
    return this.#opened(this.#find(query, ttl), view => view.open());
  }

  /** The view of this query with a subscriber; `held` is called with the view and what ends the subscription. */
  hold(query: QueryInternals, ttl: TTL, listener: () => void): {readonly view: SharedView; readonly release: () => void} {
    let release!: () => void;
    const view = this.#opened(this.#find(query, ttl), it => (release = it.subscribe(listener)));
    return {view, release};
  }

  #opened(view: SharedView, open: (view: SharedView) => void): SharedView {
    open(view);
    if (this.#ended !== undefined && !view.hasEnded) {
      view.end(this.#ended);
    }
    return view;
  }

  #find(query: QueryInternals, ttl: TTL): SharedView {
    const key = query.viewKey();
    let view = this.#byKey.get(key);
    if (view === undefined) {
      view = new SharedView(this.#owner, query, parseTTL(ttl), {
        opened: it => {
          this.#open.add(it);
          if (!this.#byKey.has(key)) {
            this.#byKey.set(key, it);
          }
        },
        dropped: it => {
          this.#open.delete(it);
          if (this.#byKey.get(key) === it) {
            this.#byKey.delete(key);
          }
        },
      });
    } else {
      view.updateTTL(ttl);
    }
    return view;
  }

  /** The queries of all open views. */
  queries(): QueryInternals[] {
    return [...this.#open].map(view => view.query);
  }

  /**
   * The client is closed: all views keep their data and say why nothing more comes; if the application closed it, only
   * those say so that wait for the server.
   */
  end(reason: QueryErrorDetails, byFault: boolean): void {
    this.#ended = reason;
    for (const view of [...this.#open]) {
      view.end(reason, byFault);
    }
  }
}

interface Registration {
  opened(view: SharedView): void;
  dropped(view: SharedView): void;
}

/** One query's live answer, shared by everyone who asks it. */
export class SharedView implements ViewStore<Snapshot>, ViewListener {
  readonly #owner: ViewOwner;
  readonly query: QueryInternals;
  readonly #registration: Registration;
  readonly #listeners = new Set<() => void>();
  #ttlMs: number;
  #core: CoreView | undefined;
  #answer: Answer;
  #isOpen = false;
  #ended = false;
  // By the core: the view has ended, though the client has not.
  #isRefused = false;
  #linger: ReturnType<typeof setTimeout> | undefined;
  // Until the answer is complete.
  #openedAt: number | undefined;

  constructor(owner: ViewOwner, query: QueryInternals, ttlMs: number, registration: Registration) {
    this.#owner = owner;
    this.query = query;
    this.#ttlMs = ttlMs;
    this.#registration = registration;
    this.#answer = [query.format.singular ? undefined : emptyList, unknownDetails];
  }

  /** Starts showing data; without a subscriber it ends again soon. */
  open(): void {
    if (this.#isOpen || this.#ended) {
      return;
    }
    this.#isOpen = true;
    this.#registration.opened(this);
    if (this.#listeners.size === 0) {
      this.#dropLater(lingerUnusedMs);
    }
    this.#owner.whenCore(core => {
      if (this.#isOpen && this.#core === undefined) {
        this.#openIn(core);
      }
    });
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    const own = () => listener();
    this.#listeners.add(own);
    this.open();
    this.#stopLingering();
    return () => {
      if (this.#listeners.delete(own) && this.#listeners.size === 0) {
        this.#dropLater(lingerMs);
      }
    };
  };

  get hasEnded(): boolean {
    return this.#ended;
  }

  readonly getSnapshot = (): Answer => this.#answer;

  readonly retry = (): void => {
    this.#core?.retry();
  };

  /** Raises the TTL; a lower one is ignored. */
  updateTTL(ttl: TTL): void {
    const ttlMs = parseTTL(ttl);
    if (ttlMs > this.#ttlMs) {
      this.#ttlMs = ttlMs;
      this.#core?.setTTL(ttlMs);
    }
  }

  publish(data: Snapshot, status: ViewStatus, failure: QueryErrorDetails | undefined): void {
    if (status === 'complete' && this.#openedAt !== undefined) {
      this.#owner.completed(this.query, performance.now() - this.#openedAt);
      this.#openedAt = undefined;
    }
    const [oldData, oldDetails] = this.#answer;
    const details = this.#detailsOf(status, failure, oldDetails);
    // All empty lists are one, so that an answer that stays empty is no news.
    const newData = this.query.format.singular || (data as readonly unknown[] | undefined)?.length ? data : emptyList;
    if (details.type === 'error' && details !== oldDetails) {
      this.#owner.failed(this.query, details.error.message);
    }
    if (newData !== oldData || details !== oldDetails) {
      this.#answer = [newData, details];
    }
  }

  notify(): void {
    for (const listener of [...this.#listeners]) {
      try {
        listener();
      } catch (error) {
        reportError(error);
      }
    }
  }

  end(error: QueryErrorDetails, isFault = true): void {
    this.#ended = true;
    // Neither a longer TTL nor another try is of use any more.
    this.#core = undefined;
    this.#stopLingering();
    if (!isFault && !this.#isAwaited) {
      return;
    }
    this.#answer = [this.#answer[0], this.#errorDetails(error)];
    this.notify();
  }

  get #isAwaited(): boolean {
    return this.#answer[1] !== complete && this.#owner.sourceOf(this.query).type !== 'local';
  }

  #openIn(core: Core): void {
    const {astJSON, shape} = this.query;
    this.#openedAt = performance.now();
    try {
      this.#core = core.openView({astJSON, shape, source: this.#owner.sourceOf(this.query), ttlMs: this.#ttlMs}, this);
      this.#owner.opened(this.query);
    } catch (error) {
      this.#isRefused = true;
      this.end({type: 'app', message: messageOf(error)});
      if (this.#listeners.size === 0) {
        this.#dropLater(lingerUnusedMs);
      }
    }
  }

  #dropLater(ms: number): void {
    this.#stopLingering();
    this.#linger = setTimeout(() => this.#drop(), ms);
  }

  #stopLingering(): void {
    if (this.#linger !== undefined) {
      clearTimeout(this.#linger);
      this.#linger = undefined;
    }
  }

  #drop(): void {
    // What a closed client has shown is shown again to those who come back; a query that was refused is of no use to them.
    if (this.#listeners.size > 0 || (this.#ended && !this.#isRefused)) {
      return;
    }
    this.#isOpen = false;
    this.#registration.dropped(this);
    if (this.#core !== undefined) {
      this.#owner.dropping(this.query);
    }
    this.#core?.drop();
    this.#core = undefined;
  }

  #detailsOf(status: ViewStatus, failure: QueryErrorDetails | undefined, old: QueryResultDetails): QueryResultDetails {
    switch (status) {
      case 'unknown':
        return unknownDetails;
      case 'complete':
        return complete;
      case 'error': {
        const error = failure ?? {type: 'app', message: 'The query failed at the server.'};
        return old.type === 'error' && old.error === failure ? old : this.#errorDetails(error);
      }
    }
  }

  #errorDetails(error: QueryErrorDetails): QueryResultDetails {
    return Object.freeze({type: 'error', error, retry: this.retry, refetch: this.retry});
  }
}

/** The error of a query as Zero's views are told of it. */
export function erroredQuery(query: QueryInternals, {type, message, details}: QueryErrorDetails): ErroredQuery {
  const name = query.customQueryID?.name ?? '';
  return {error: type, id: query.hash(), name, message, ...(details === undefined ? {} : {details})};
}

/** A live answer held by its owner, until `destroy`. */
export class HeldView<T> implements TypedView<T> {
  readonly #view: SharedView;
  readonly #release: () => void;
  readonly #listeners = new Set<Listener<T>>();
  // What listeners were told last; undefined while the view is being opened.
  #told: Answer | undefined;
  // What it had when it was destroyed.
  #kept: Answer | undefined;

  constructor(views: Views, query: QueryInternals, ttl: TTL) {
    const {view, release} = views.hold(query, ttl, () => this.#told && this.#changed());
    this.#view = view;
    this.#release = release;
    this.#told = view.getSnapshot();
  }

  get data(): T {
    return this.#answer[0] as T;
  }

  addListener(listener: Listener<T>): () => void {
    const own: Listener<T> = (...args) => listener(...args);
    this.#listeners.add(own);
    this.#call(own);
    return () => {
      this.#listeners.delete(own);
    };
  }

  updateTTL(ttl: TTL): void {
    this.#view.updateTTL(ttl);
  }

  destroy(): void {
    if (this.#kept === undefined) {
      this.#kept = this.#answer;
      this.#listeners.clear();
      this.#release();
    }
  }

  get #answer(): Answer {
    return this.#kept ?? this.#view.getSnapshot();
  }

  // Also called when the first rows have been read, and there are none.
  #changed(): void {
    if (this.#told === this.#answer) {
      return;
    }
    this.#told = this.#answer;
    for (const listener of [...this.#listeners]) {
      this.#call(listener);
    }
  }

  #call(listener: Listener<T>): void {
    const [data, details] = this.#answer;
    try {
      listener(data as T, details.type, details.type === 'error' ? erroredQuery(this.#view.query, details.error) : undefined);
    } catch (error) {
      reportError(error);
    }
  }
}
