/** The client: {@link Zero}, also called `Landfall`. */
import {Core, type CoreHost, closedError, type ForHost, type QuerySource} from './core/core.js';
import {openEarly} from './core/early-database.js';
import {loadBindings} from './core/load.js';
import {nextTask} from './core/next-task.js';
import {whenIdle} from './core/when-idle.js';
import {callBack} from './call-back.js';
import {ClientConnection} from './client-connection.js';
import {ClientMutators} from './client-mutators.js';
import {completeAnswer} from './complete-answer.js';
import type {Connection} from './connection.js';
import {coreOptionsJSON, queryURL} from './core-options.js';
import type {DefaultContext, DefaultSchema} from './default-types.js';
import {Deferred} from './deferred.js';
import {dropDatabase} from './drop-database.js';
import {materializeWith} from './factory-view.js';
import {inTime} from './in-time.js';
import {hideGlobally, showGlobally} from './inspector/global.js';
import {type Inspector, inspectorOf} from './inspector/inspector.js';
import {Questions} from './inspector/questions.js';
import type {Args} from './json.js';
import {messageOf} from './landfall-error.js';
import {logger, type Logger} from './logger.js';
import type {AnyMutators, BatchMutator, ZeroMutate} from './mutate/legacy-mutators.js';
import {PendingMutationList} from './mutations.js';
import type {PendingMutation, PendingMutations} from './pending-mutation.js';
import type {QueryPlan} from './query-plan.js';
import {builderFor} from './query/create-builder.js';
import type {AnyQuery, ConditionalSchemaQuery, HumanReadable} from './query/query.js';
import {asQueryInternals, type QueryInternals} from './query/internals.js';
import type {AnyViewFactory, ViewFactory} from './query/view-factory.js';
import {type QueryOrQueryRequest, toQuery} from './query/query-registry.js';
import type {MaterializeOptions, PreloadOptions, RunOptions} from './query/run-options.js';
import {DEFAULT_PRELOAD_TTL, DEFAULT_TTL, parseTTL} from './query/ttl.js';
import type {TypedView, ViewStore} from './query/view-store.js';
import {preload} from './preload.js';
import {reasonOfReload, reloadPage} from './reload.js';
import type {Schema} from './schema/schema.js';
import {reportError} from './state-source.js';
import {earlierStores, OldStores, storageNames} from './old-stores.js';
import {newClientID, randomBytes} from './random.js';
import {RecentQueries} from './recent-queries.js';
import {schemaVersionOf, storageName} from './storage-name.js';
import {version} from './version.js';
import {HeldView, type ViewOwner, Views} from './view.js';
import {checkOptions} from './check-options.js';
import {storesInIndexedDB, usableServer} from './environment.js';
import type {CommonOptions, ZeroOptions} from './zero-options.js';

// What was asked for before there was a core is done in tasks of about this length, and so is an export.
const taskMs = 4;

// A list of databases that takes longer does not come: browsers have failed to give it at all.
const listMs = 5000;

// Rows of earlier stores are not waited for any longer.
const earlierMs = 10_000;

// A transaction of which nothing more is heard does not keep a client from closing.
const closingMs = 5000;

type AnyOptions = CommonOptions & {
  readonly schema: Schema;
  readonly mutators?: AnyMutators | undefined;
  readonly context?: unknown;
};

/**
 * A client: answers queries from local data, keeps them current, and takes writes at once, with or without a server.
 *
 * ```ts
 * const zero = new Zero({schema, mutators, cacheURL: 'http://localhost:4848', userID: 'ann'});
 * const view = zero.materialize(queries.issue.list());
 * view.addListener(issues => console.log(issues));
 * zero.mutate(mutators.issue.create({id: '1', title: 'First'}));
 * ```
 */
export class Zero<
  S extends Schema = DefaultSchema,
  MD extends AnyMutators | undefined = undefined,
  C = DefaultContext,
> {
  /** The registry that `mutate` accepts requests of; there at type level only. */
  declare readonly '~mutators'?: MD;
  readonly schema: S;
  readonly context: C;
  readonly userID: string | undefined;
  readonly storageKey: string;
  /** The server's URL, or `null`. */
  readonly server: string | null;
  readonly version: string = version;
  /** Silence after which the server is asked for a sign of life, in ms. */
  readonly pingTimeoutMs: number;
  readonly connection: Connection;
  /** Resolves when local data has been read; rejects if the client cannot run at all. */
  readonly ready: Promise<void>;
  /** The mutations that the server has not confirmed. */
  readonly pending: PendingMutations;
  /** Runs a mutator: here at once, then at the server. */
  readonly mutate: ZeroMutate<S, MD, C>;
  /** @deprecated Write several rows in one mutator; there only if the schema enables legacy mutators. */
  readonly mutateBatch: BatchMutator<S>;

  readonly #options: AnyOptions;
  readonly #mutators: ClientMutators;
  readonly #log: Logger;
  readonly #connection: ClientConnection;
  readonly #pending: PendingMutationList;
  readonly #viewOwner: ViewOwner;
  readonly #views: Views;
  readonly #recent: RecentQueries;
  readonly #indexed: boolean;
  // Tables of which a view has shown a query without a name.
  readonly #shownUnnamed = new Set<string>();
  // What was asked for before there was a core, in order, for as long as not all of it is done.
  #waiting: ((core: Core) => void)[] | undefined = [];
  #core: Core | undefined;
  #auth: string | undefined;
  readonly #oldStores: OldStores;
  #query: object | undefined;
  #inspector: Inspector | undefined;
  #questions: Questions | undefined;
  #closed = false;
  #hasNoStorage = false;
  // What is told when the client ends, once.
  readonly #atEnd = new Set<() => void>();
  #clientID: string;
  #clientGroupID: Promise<string>;
  #idbName: string | undefined;
  readonly #starting = new Deferred<void>();
  readonly #joining = new Deferred<string>();
  readonly #closing = new Deferred<void>();

  constructor(options: ZeroOptions<S, MD, C>) {
    const given = options as unknown as AnyOptions;
    checkOptions(given);
    this.#options = given;
    this.#log = logger(given.logLevel ?? 'warn', given.logSink);
    this.schema = options.schema;
    this.context = given.context as C;
    this.userID = given.userID ?? undefined;
    this.storageKey = given.storageKey ?? '';
    this.#auth = given.auth ?? undefined;
    this.server = usableServer(given, this.#log);
    this.#indexed = storesInIndexedDB(given, this.#log);
    this.#clientID = newClientID();
    this.pingTimeoutMs = given.pingTimeoutMs ?? 5000;
    this.ready = this.#starting.promise;
    this.#clientGroupID = this.#joining.promise;
    this.#connection = new ClientConnection(auth => this.#connect(auth));
    this.connection = this.#connection;
    this.#pending = new PendingMutationList(({clientID, id}) => {
      this.#oldStores.clearOutcome(clientID, id);
      this.#whenCore(core => core.clearOutcome(clientID, id));
    });
    const client = this;
    this.#oldStores = new OldStores({
      wasm: given.wasm,
      coreOptions: (storageName, clientID) => this.#coreOptions(storageName, clientID, 'draining'),
      log: message => this.#log('warn', message),
      changed: () => this.#pending.changed(() => this.#mutations()),
      get closed() { return client.#closed; },
    });
    this.pending = this.#pending;
    this.#viewOwner = {
      whenCore: use => this.#whenCore(use),
      sourceOf: query => this.#sourceOf(query),
      opened: query => {
        this.#recent.used(query);
        this.#warnIfLocal(query);
      },
      dropping: query => this.#recent.add(query),
      failed: (query, message) => this.#failed(query, message),
      completed: (query, ms) => this.#completed(query, ms),
    };
    this.#views = new Views(this.#viewOwner);
    this.#recent = new RecentQueries(given.maxRecentQueries ?? 0, query => preload(this.#viewOwner, query, 0).cleanup);
    if (given.onOnlineChange !== undefined) {
      this.onOnline(given.onOnlineChange);
    }
    this.#mutators = new ClientMutators({
      schema: this.schema,
      context: this.context,
      get auth() { return client.#auth; },
      get clientID() { return client.#clientID; },
      get closed() { return client.#closed; },
      whenCore: use => this.#whenCore(use),
      log: (message, ...details) => this.#log('warn', message, ...details),
    }, given.mutators);
    this.mutate = this.#mutators.mutate as never;
    this.mutateBatch = this.#mutators.mutateBatch as BatchMutator<S>;
    showGlobally(this);
    void this.#start();
  }

  /** Whether `close` has been called, or a fault has ended the client. */
  get closed(): boolean {
    return this.#closed;
  }

  /** The name of the database. */
  get idbName(): string {
    this.#idbName ??= storageName({
      userID: this.userID,
      storageKey: this.storageKey,
      mutateURL: this.#options.mutateURL,
      queryURL: queryURL(this.#options),
      schema: this.schema,
    });
    return this.#idbName;
  }

  /** Tells this schema from others; a part of the database's name. */
  get schemaVersion(): string {
    return schemaVersionOf(this.schema);
  }

  /** Names this page among the clients of its group. Another one if the server has forgotten this client. */
  get clientID(): string {
    return this.#clientID;
  }

  /** Names the group of clients that share this storage. */
  get clientGroupID(): Promise<string> {
    return this.#clientGroupID;
  }

  /** The answer to a query: at once from local data, or with `{type: 'complete'}` when the server has confirmed it. */
  run<TTable extends keyof S2['tables'] & string, TInput extends Args, TOutput extends Args, S2 extends Schema, TReturn>(
    query: QueryOrQueryRequest<TTable, TInput, TOutput, S2, TReturn, C>,
    options?: RunOptions,
  ): Promise<HumanReadable<TReturn>> {
    // Arguments that do not validate throw here, not later.
    const internals = this.#internals(query);
    const answer = options?.type === 'complete' ? completeAnswer(this.#views, internals, options.ttl) : this.#runLocal(internals);
    return answer as Promise<HumanReadable<TReturn>>;
  }

  /** @deprecated Use `createBuilder` and `run`; there only if the schema enables legacy queries. */
  get query(): ConditionalSchemaQuery<S> {
    if (this.schema.enableLegacyQueries !== true) {
      return undefined as ConditionalSchemaQuery<S>;
    }
    this.#query ??= builderFor(this.schema, {
      schema: this.schema,
      system: 'client',
      runner: {
        run: (query, options) => this.run(query, options),
        preload: (query, options) => this.preload(query, options),
        materialize: (query, ttl) => this.materialize(query, {ttl}) as TypedView<unknown>,
        materializeWith: (query, factory, ttl) => this.materialize(query, factory, {ttl}),
      },
    });
    return this.#query as ConditionalSchemaQuery<S>;
  }

  /** @deprecated Use `connection.state`. */
  get online(): boolean {
    return this.connection.state.current.name === 'connected';
  }

  /** @deprecated Use `connection.state.subscribe`. Calls back when the server is reached or lost. */
  readonly onOnline = (listener: (online: boolean) => void): (() => void) => {
    let last = this.online;
    return this.connection.state.subscribe(() => {
      if (this.online !== last) {
        last = this.online;
        listener(last);
      }
    });
  };

  /** For developers: what the server knows of this client's queries, and what they cost. */
  get inspector(): Inspector {
    return (this.#inspector ??= this.#newInspector());
  }

  /** Runs a query on the local data and tells how: what was chosen to be read, and how many rows that were. */
  async analyzeQuery(query: QueryOrQueryRequest<any, any, any, any, any, any>): Promise<QueryPlan> {
    const {astJSON} = this.#internals(query);
    await this.ready;
    if (this.#core === undefined || this.#closed) {
      throw closedError();
    }
    return this.#core.analyze(astJSON);
  }

  /**
   * Synchronises a query without showing it. `complete` resolves when the server has sent everything, and rejects if the
   * client is closed before.
   */
  preload(
    query: QueryOrQueryRequest<any, any, any, any, any, any>,
    options?: PreloadOptions,
  ): {readonly complete: Promise<void>; cleanup(): void} {
    const internals = this.#internals(query);
    const {complete, cleanup} = preload(this.#viewOwner, internals, parseTTL(options?.ttl ?? DEFAULT_PRELOAD_TTL));
    this.#recent.used(internals);
    let isKept = true;
    const waiting = new Deferred<void>();
    const ended = () => waiting.reject(closedError());
    const settled = complete.then(waiting.resolve, waiting.reject);
    if (this.#closed) {
      ended();
    } else {
      this.#atEnd.add(ended);
      void settled.then(() => this.#atEnd.delete(ended));
    }
    return {
      complete: waiting.promise,
      cleanup: () => {
        if (isKept) {
          isKept = false;
          this.#atEnd.delete(ended);
          this.#recent.add(internals);
          cleanup();
        }
      },
    };
  }

  /** A live answer, kept current until `destroy`. */
  materialize<
    TTable extends keyof S2['tables'] & string,
    TInput extends Args,
    TOutput extends Args,
    S2 extends Schema,
    TReturn,
  >(
    query: QueryOrQueryRequest<TTable, TInput, TOutput, S2, TReturn, C>,
    options?: MaterializeOptions,
  ): TypedView<HumanReadable<TReturn>>;
  /** A live answer in a form of the application's own; see {@link ViewFactory}. */
  materialize<
    T,
    TTable extends keyof S2['tables'] & string,
    TInput extends Args,
    TOutput extends Args,
    S2 extends Schema,
    TReturn,
  >(
    query: QueryOrQueryRequest<TTable, TInput, TOutput, S2, TReturn, C>,
    factory: ViewFactory<TTable, S2, TReturn, T>,
    options?: MaterializeOptions,
  ): T;
  materialize(
    given: QueryOrQueryRequest<any, any, any, any, any, any>,
    second?: MaterializeOptions | AnyViewFactory,
    third?: MaterializeOptions,
  ): unknown {
    const query = toQuery(given, this.context);
    if (typeof second !== 'function') {
      return new HeldView(this.#views, asQueryInternals(query), second?.ttl ?? DEFAULT_TTL);
    }
    return materializeWith(this.#views, this.schema, query, second, third?.ttl ?? DEFAULT_TTL, this.#batch());
  }

  /**
   * A live answer in the form that bindings to user interfaces take: shared by all who ask the same query, dropped a
   * moment after its last subscriber has gone.
   */
  viewStore<TTable extends keyof S2['tables'] & string, TInput extends Args, TOutput extends Args, S2 extends Schema, TReturn>(
    query: QueryOrQueryRequest<TTable, TInput, TOutput, S2, TReturn, C>,
    options?: MaterializeOptions,
  ): ViewStore<HumanReadable<TReturn>> {
    const view = this.#views.get(this.#internals(query), options?.ttl ?? DEFAULT_TTL);
    return view as unknown as ViewStore<HumanReadable<TReturn>>;
  }

  /**
   * JSON text of everything that is local: in `tables` the rows as the server gave them, in `mutations` the writes that
   * it has not confirmed. For a backup before storage is cleared, or for a report.
   */
  async exportJSON(): Promise<string> {
    await this.ready;
    if (this.#core === undefined || this.#closed) {
      throw closedError();
    }
    const text = await this.#core.exportJSON(taskMs);
    if (this.#closed) {
      throw closedError();
    }
    return text;
  }

  /** Ends the client for good, when what was written is stored, but within some seconds. Views keep their last data. */
  close(): Promise<void> {
    if (!this.#closed) {
      this.#end('The client is closed.', false);
      if (this.#core === undefined) {
        this.#closing.resolve();
      } else {
        // Read while it can be: after the close there is nobody to ask.
        void this.#pending.current;
        this.#oldStores.close();
        this.#core.close();
        void this.#closeInTime();
      }
    }
    return this.#closing.promise;
  }

  /** Closes the client and deletes its database, with everything that was not sent. */
  async delete(): Promise<{deleted: string[]; errors: unknown[]}> {
    await this.close();
    if (!this.#indexed) {
      return {deleted: [], errors: []};
    }
    try {
      await dropDatabase(this.idbName);
      return {deleted: [this.idbName], errors: []};
    } catch (error) {
      this.#log('warn', messageOf(error));
      return {deleted: [], errors: [error]};
    }
  }

  // Whoever waits for the close may be about to leave the page, or to make another client.
  async #closeInTime(): Promise<void> {
    const isOver = await inTime(this.#closing.promise.then(() => true), closingMs);
    if (isOver === undefined) {
      const reason = `The client is closed, but storage has not answered for ${closingMs / 1000} s: what was written last may not be stored.`;
      this.#log('warn', reason);
      this.#mutators.calls.abandon(reason);
      this.#closing.resolve();
    }
  }

  async #start(): Promise<void> {
    try {
      // The page's scripts run for the first time in the task that makes the client; so does everything here.
      await nextTask();
      if (this.#closed) {
        return;
      }
      // Asked for while the module is loading: the browser opens its storage meanwhile.
      const names = this.#indexed ? storageNames() : undefined;
      const takeDatabase = names && openEarly(this.idbName, names);
      const bindings = await loadBindings(this.#options.wasm, () => !this.#closed);
      const database = takeDatabase?.();
      if (this.#closed) {
        database?.close();
        return;
      }
      // Connects when everything that was asked for meanwhile can go with its first message.
      const role = this.server === undefined ? undefined : 'held';
      const options = this.#coreOptions(this.idbName, this.#clientID, role);
      const core = new Core(bindings, options, randomBytes(32), this.#coreHost(), database);
      await nextTask();
      if (this.#closed) {
        core.free();
        return;
      }
      this.#core = core;
      core.start();
      await this.#serveWaiting(core);
      if (role === 'held' && !this.#closed) {
        await nextTask();
        void this.#release(names);
      }
    } catch (error) {
      this.#fail(error);
    }
  }

  // What is asked for meanwhile comes behind.
  async #serveWaiting(core: Core): Promise<void> {
    let until = 0;
    for (const use of this.#waiting ?? []) {
      if (performance.now() >= until) {
        await nextTask();
        until = performance.now() + taskMs;
      }
      if (this.#closed) {
        return;
      }
      // One call that is refused must not end the client.
      callBack(() => use(core));
    }
    this.#waiting = undefined;
  }

  // Rows of an earlier store are shown until this client is given its first ones, and writes that wait there go out before.
  async #release(databases: Promise<readonly string[]> | undefined): Promise<void> {
    if (databases !== undefined) {
      try {
        const known = await inTime(databases, listMs);
        if (known === undefined) {
          this.#log('warn', 'Earlier stores are not looked for: the browser does not list its databases.');
        }
        const names = earlierStores(known ?? [], this.idbName);
        this.#whenCore(core => core.earlier(names));
        const drained = this.#oldStores.drain(names);
        if (names.length > 0) {
          // What is asked of them is answered, and shown, when the client is ready; a client that is released before then
          // goes on without.
          await inTime(this.ready.catch(() => {}), earlierMs);
        }
        await drained;
      } catch (error) {
        this.#log('warn', `Earlier stores could not be looked for: ${messageOf(error)}`);
      }
      await nextTask();
    }
    this.#whenCore(core => core.release());
  }

  // In a task of its own: the browser may have to fetch what it remembers, and the page waits for it.
  async #tellReload(): Promise<void> {
    await nextTask();
    const reason = reasonOfReload();
    if (reason !== undefined) {
      this.#log('warn', `The page was reloaded, because the server asks for other code: ${reason}`);
    }
  }

  #mutations(): readonly PendingMutation[] {
    const [now, earlier] = [this.#core?.mutations() ?? [], this.#oldStores.mutations()];
    return earlier.length === 0 ? now : [...now, ...earlier];
  }

  #coreOptions(storageName: string, clientID: string, role: 'held' | 'draining' | undefined): string {
    return coreOptionsJSON(this.#options, {
      schema: this.schema,
      clientID,
      storageName,
      isIndexed: this.#indexed,
      server: this.server,
      auth: this.#auth,
      role,
    });
  }

  #coreHost(): CoreHost {
    const {getTraceparent} = this.#options;
    return {
      effect: effect => this.#effect(effect),
      fault: error => this.#fail(error),
      batch: this.#batch(),
      listenerError: reportError,
      traceparent: getTraceparent && (() => callBack(getTraceparent)),
    };
  }

  #batch(): (apply: () => void) => void {
    return this.#options.batchViewUpdates ?? (apply => apply());
  }

  // One arm for each effect; what is the application's is called through `#callBack`.
  #effect(effect: ForHost): void {
    switch (effect.type) {
      case 'runCall':
        return this.#core && this.#mutators.runCall(this.#core, effect);
      case 'callRan':
        return this.#mutators.calls.ranLocally(effect.call);
      case 'callStored':
        return this.#mutators.calls.stored(effect.call, undefined);
      case 'callConfirmed':
        return this.#mutators.calls.confirmed(effect.call);
      case 'runMutator':
        return this.#core && this.#mutators.runStored(this.#core, effect);
      case 'mutationLocal':
        return this.#mutators.failedLocally(effect);
      case 'mutationDurable':
        return this.#mutators.calls.stored(effect.call, effect.error);
      case 'mutationOutcome':
        return this.#mutators.ended(effect);
      case 'mutationsChanged':
        return this.#pending.changed(() => this.#mutations());
      case 'connection':
        return this.#closed ? undefined : this.#connection.state.set(effect.state);
      case 'ready':
        this.#joining.resolve(effect.clientGroupID);
        this.#starting.resolve();
        whenIdle(() => this.#core?.warmUp() ?? false);
        return void this.#tellReload();
      case 'updateNeeded': {
        const {onUpdateNeeded} = this.#options;
        if (onUpdateNeeded === undefined) {
          return reloadPage(effect.message);
        }
        return callBack(() => onUpdateNeeded({type: effect.reason, message: effect.message}));
      }
      case 'clientStateNotFound':
        this.#clientID = effect.clientID;
        this.#clientGroupID = Promise.resolve(effect.clientGroupID);
        this.#log('warn', 'The server has forgotten this client; it starts anew.');
        return callBack(() => this.#options.onClientStateNotFound?.());
      case 'storageProblem':
        if (effect.kind === 'unavailable') {
          // From then on there is no storage, and whatever is asked of it fails.
          if (this.#hasNoStorage) {
            return;
          }
          this.#hasNoStorage = true;
        }
        this.#log('error', `${effect.message} (${effect.kind}; see onStorageProblem)`);
        return callBack(() => this.#options.onStorageProblem?.(effect.message, effect.kind));
      case 'inspected':
        return this.#questions?.answered(effect.id, effect.op, effect.valueJSON);
      case 'log':
        return this.#log(effect.level, effect.message);
      case 'earlierUnneeded':
        return this.#oldStores.unneeded();
      case 'drained':
        return;
      case 'closed':
        this.#pending.keepLast();
        this.#core?.free();
        this.#mutators.calls.abandon('The client is closed.');
        return this.#closing.resolve();
    }
  }

  #completed(query: QueryInternals, ms: number): void {
    if (ms > (this.#options.slowMaterializeThreshold ?? 5000)) {
      this.#warnOf(query, name => `Slow query materialization (including server/network): ${name} took ${Math.round(ms)} ms.`);
    }
  }

  // `run` and `preload` may mean local rows; what is shown is expected to be synchronised.
  #warnIfLocal(query: QueryInternals): void {
    const {table} = query.ast;
    if (this.server !== null && this.#sourceOf(query).type === 'local' && !this.#shownUnnamed.has(table)) {
      this.#shownUnnamed.add(table);
      this.#warnOf(query, name =>
        `The query ${name} has no name, so the server is not asked for it: it shows rows that other queries have brought here, and never becomes complete. Make it with defineQuery.`,
      );
    }
  }

  // An application that does not look at the details would show nothing, and say nothing.
  #failed(query: QueryInternals, message: string): void {
    this.#warnOf(query, name => `The query ${name} failed: ${message}`);
  }

  // Told while views change: what is called may be the application's.
  #warnOf({customQueryID, ast}: QueryInternals, text: (name: string) => string): void {
    const name = customQueryID?.name ?? `of table ${ast.table}`;
    queueMicrotask(() => this.#log('warn', text(name)));
  }

  #newInspector(): Inspector {
    const client = this;
    const questions = new Questions(this.connection.state, json => this.#core?.inspect(json));
    this.#questions = questions;
    return inspectorOf({
      get clientID() { return client.clientID; },
      get clientGroupID() { return client.clientGroupID; },
      schema: this.schema,
      ask: question => questions.ask(question),
      exportJSON: () => this.exportJSON(),
      astOf: id => this.#views.queries().find(query => query.hash() === id)?.ast,
      clientAST: query => this.#internals(query).ast,
    });
  }

  async #runLocal({astJSON, shape, format}: QueryInternals): Promise<unknown> {
    await this.ready;
    if (this.#core === undefined || this.#closed) {
      throw closedError();
    }
    return this.#core.query(astJSON, shape) ?? (format.singular ? undefined : []);
  }

  #connect(auth: string | undefined): void {
    this.#auth = auth ?? this.#auth;
    if (!this.#closed) {
      this.#oldStores.connect(auth);
      this.#whenCore(core => core.connect(auth));
    }
  }

  #whenCore(use: (core: Core) => void): void {
    if (this.#closed) {
      return;
    }
    if (this.#core === undefined || this.#waiting !== undefined) {
      this.#waiting?.push(use);
    } else {
      use(this.#core);
    }
  }

  #internals(query: QueryOrQueryRequest<any, any, any, any, any, any>): QueryInternals {
    return asQueryInternals(toQuery(query, this.context) as AnyQuery);
  }

  #sourceOf({customQueryID}: QueryInternals): QuerySource {
    if (customQueryID !== undefined) {
      return {type: 'named', name: customQueryID.name, argsJSON: JSON.stringify(customQueryID.args)};
    }
    return {type: this.schema.enableLegacyQueries === true ? 'ast' : 'local'};
  }

  // The module did not load, or a fault has ended it.
  #fail(error: unknown): void {
    const reason = messageOf(error);
    this.#starting.reject(error);
    this.#joining.reject(error);
    this.#pending.keepLast();
    this.#end(reason, true);
    this.#mutators.calls.abandon(reason);
    this.#closing.resolve();
    this.#oldStores.close();
    this.#log('error', reason);
  }

  #end(reason: string, byFault: boolean): void {
    if (this.#closed) {
      return;
    }
    this.#closed = true;
    hideGlobally(this);
    this.#waiting = undefined;
    this.#starting.reject(closedError());
    this.#joining.reject(closedError());
    this.#connection.state.set({name: 'closed', reason});
    this.#mutators.calls.abandonServer(reason);
    for (const tell of this.#atEnd) {
      tell();
    }
    this.#atEnd.clear();
    this.#views.end({type: 'app', message: reason, details: {kind: 'ClientClosed'}}, byFault);
  }
}

/** Another name of {@link Zero}. */
export const Landfall: typeof Zero = Zero;
/** Another name of {@link Zero}. */
export type Landfall<
  S extends Schema = DefaultSchema,
  MD extends AnyMutators | undefined = undefined,
  C = DefaultContext,
> = Zero<S, MD, C>;
