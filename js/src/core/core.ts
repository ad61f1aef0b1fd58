/**
 * The running client as TypeScript sees it: calls into WebAssembly, and carries out what comes back, in order.
 *
 * Nothing of the application's runs while WebAssembly is on the stack: effects are queued and delivered afterwards, and
 * what the application does meanwhile adds to the queue.
 */
import type {Bindings, Core as RawCore} from '../../wasm/landfall.js';
import {LandfallError, type LandfallErrorCode, TransactionClosedError} from '../landfall-error.js';
import type {ReadonlyJSONValue} from '../json.js';
import {pendingMutation} from '../mutation-result.js';
import type {PendingMutation} from '../pending-mutation.js';
import type {QueryPlan} from '../query-plan.js';
import type {QueryErrorDetails} from '../query/view-store.js';
import type {HostEffect} from './effects.js';
import {applyOperations, FlushPlace, flushPlaceWords, type Target, type ViewStatus} from './flush.js';
import {Memory} from './memory.js';
import {nextTask} from './next-task.js';
import type {ListedMutation} from './mutation-outcome.js';
import {decodeRowBatch, type Row, type TableLayout} from './row-batch.js';
import {type ListShape, type RowOf, type Snapshot, ViewTree} from './view-tree.js';

/** How the server hears of a query. */
export type QuerySource = {readonly type: 'local'} | {readonly type: 'ast'} | {
  readonly type: 'named';
  readonly name: string;
  readonly argsJSON: string;
};

/** A query to keep current. */
export interface ViewRequest {
  readonly astJSON: string;
  /** `undefined` for a preload: synchronised, but no rows are shown. */
  readonly shape: ListShape | undefined;
  readonly source: QuerySource;
  readonly ttlMs: number;
}

/** Hears of one view. `publish` must not call the application's code; `notify` may. */
export interface ViewListener {
  publish(data: Snapshot, status: ViewStatus, failure: QueryErrorDetails | undefined): void;
  notify(): void;
}

/** A view that the core keeps current. */
export interface CoreView {
  setTTL(ttlMs: number): void;
  retry(): void;
  drop(): void;
}

/** What a write does. */
export type WriteOp = 'insert' | 'upsert' | 'update' | 'delete';

/** The error that ends a mutator, as the core keeps it. */
export interface SettleError {
  readonly type: 'app' | 'zero';
  readonly message: string;
  readonly detailsJSON: string | undefined;
}

/** Who uses a core: everything that is not about views. */
export interface CoreHost {
  /** What is not about views, in order. Must not throw. */
  effect(effect: ForHost): void;
  /** A fault: the core is dead, and every further call throws. */
  fault(error: LandfallError): void;
  /** Calls `notify` once, so that many listeners lead to one rendering. */
  batch(notify: () => void): void;
  /** A listener threw. */
  listenerError(error: unknown): void;
  /** The trace that the application is in, if it tells; must not throw. */
  readonly traceparent?: (() => string | undefined) | undefined;
}

/** What happens to a call of this page, and changes of the list of mutations. */
export type CallEffect =
  | {readonly type: 'runCall'; readonly tx: number; readonly call: number; readonly reason: 'optimistic' | 'rebase'; readonly mutationID: number}
  | {readonly type: 'callRan' | 'callStored' | 'callConfirmed'; readonly call: number}
  | {readonly type: 'mutationsChanged'};

/** The effects that concern the host of a core. */
export type ForHost = Exclude<HostEffect, {type: 'queryFailed'}> | CallEffect;

// Of the effects in a letter; see `crates/web/src/outgoing.rs`.
const code = {flush: 0, run: 1, ran: 2, stored: 3, confirmed: 4, changed: 5, text: 6} as const;

interface OpenView {
  readonly tree: ViewTree | undefined;
  readonly listener: ViewListener;
  status: ViewStatus;
  /** Why the query failed at the server; counts while the status is `error`. */
  failure: QueryErrorDetails | undefined;
  /** What was published last. */
  snapshot: Snapshot;
  /** Changed since it was last published. */
  changed: boolean;
  /** Nobody listens any more. */
  dropped: boolean;
}

// A flush is applied to the trees when it is taken, so that rows can be named by what is asked meanwhile;
// what stays in the queue in its place is that it is to be shown.
type Queued = ForHost | {readonly type: 'flush'};

const done = Promise.resolve();

const writeOps: {readonly [K in WriteOp]: number} = {insert: 0, upsert: 1, update: 2, delete: 3};

export class Core {
  readonly #host: CoreHost;
  readonly #raw: RawCore;
  readonly #memory: Memory;
  #layout: readonly TableLayout[] = [];
  readonly #rows: (Row | undefined)[] = [];
  readonly #views = new Map<number, OpenView>();
  // Made once: code that was optimised with a function that is gone is thrown away.
  readonly #rowOf: RowOf = handle => {
    const row = this.#rows[handle];
    if (row === undefined) {
      throw new RangeError(`A flush names row ${handle}, which was never sent.`);
    }
    return row;
  };
  #answering: Target | undefined;
  readonly #answerOf = (): Target => this.#answering!;
  readonly #targetOf = (id: number): OpenView => this.#touch(id);
  // Applied but not published, in the order in which they were first touched.
  readonly #changed: OpenView[] = [];
  #queue: Queued[] = [];
  #delivering = false;
  // Something has been asked of the core since it was last asked what waits.
  #mayWait = false;
  // What goes to storage and to the server waits until the page has been shown what changed.
  #hasOutward = false;
  #fault: LandfallError | undefined;
  #listed: readonly PendingMutation[] = [];

  /** `database` is the client's, if it is open already; it belongs to the core from then on. */
  constructor(bindings: Bindings, optionsJSON: string, entropy: Uint8Array, host: CoreHost, database?: IDBDatabase) {
    this.#host = host;
    try {
      this.#raw = new bindings.Core(optionsJSON, entropy, () => this.#deliver(), (message: string) => this.#panicked(message), database);
      this.#memory = new Memory(this.#raw.memory());
    } catch (error) {
      throw this.#fault ?? landfallError(error);
    }
  }

  /**
   * Begins to work. To be called once, before anything else, when the host can take effects; in a task of its own, because
   * the browser compiles most of what is called here and in the constructor.
   */
  start(): void {
    this.#trace();
    this.#layout = JSON.parse(this.#call(raw => raw.layout())) as TableLayout[];
    this.#run(raw => raw.start());
  }

  /** Has the browser compile what is likely to be called later, a little at a time; whether there is more. */
  warmUp(): boolean {
    return this.#fault === undefined && this.#call(warmUp);
  }

  /** Opens a view; its first rows are shown before this returns, if they can be. */
  openView(request: ViewRequest, listener: ViewListener): CoreView {
    const {astJSON, shape, source, ttlMs} = request;
    const named = source.type === 'named' ? source : undefined;
    this.#trace();
    const id = this.#call(raw =>
      raw.view(astJSON, source.type, named?.name, named?.argsJSON, ttlMs, shape !== undefined),
    );
    this.#views.set(id, {tree: shape && new ViewTree(shape), listener, status: 'unknown', failure: undefined, snapshot: undefined, changed: false, dropped: false});
    this.#deliver();
    return {
      setTTL: ms => this.#run(raw => raw.set_ttl(id, ms)),
      retry: () => this.#run(raw => raw.retry(id)),
      drop: () => this.#dropView(id),
    };
  }

  /** The answer to a query on what is visible now. */
  query(astJSON: string, shape: ListShape): Snapshot {
    return this.#answer(shape, raw => raw.run(astJSON));
  }

  /** Runs a query on what is visible now, and tells how. */
  analyze(astJSON: string): QueryPlan {
    return JSON.parse(this.#call(raw => raw.analyze(astJSON))) as QueryPlan;
  }

  /** Asks the server a question of the inspector; the effect `inspected` brings the answer. */
  inspect(questionJSON: string): void {
    this.#run(raw => raw.inspect(questionJSON));
  }

  /** Calls a mutator; its number in the effects that follow is passed to `called` before any of them is delivered. */
  mutate(name: string, argsJSON: string, called: (call: number) => void): void {
    this.#trace();
    called(this.#call(raw => raw.mutate(name, argsJSON)));
    this.#deliver();
  }

  write(tx: number, table: string, op: WriteOp, rowJSON: string): void {
    this.#call(raw => raw.write(tx, table, writeOps[op], rowJSON));
  }

  read(tx: number, astJSON: string, shape: ListShape): Snapshot {
    return this.#answer(shape, raw => raw.read(tx, astJSON));
  }

  /** Whether the page is neither hidden nor left: if it is, this task may be its last one. */
  hasTurns(): boolean {
    return this.#fault === undefined && this.#raw.has_turns();
  }

  settle(tx: number, error: SettleError | undefined): void {
    this.#run(raw => raw.settle(tx, error?.type, error?.message, error?.detailsJSON));
  }

  connect(auth: string | undefined): void {
    this.#trace();
    this.#run(raw => raw.connect(auth));
  }

  /** A core with the role `held` reads what these databases of earlier schemas hold. */
  earlier(names: readonly string[]): void {
    this.#run(raw => raw.earlier([...names]));
  }

  /** A core with the role `held` may connect. */
  release(): void {
    this.#run(raw => raw.release());
  }

  /** JSON text of everything that is local as it is now, made in tasks of about this length. */
  async exportJSON(taskMs: number): Promise<string> {
    const parts = this.#call(raw => raw.export_json());
    try {
      let text = '';
      for (let until = performance.now() + taskMs; ; ) {
        const part = this.#call(() => parts.next_part());
        if (part === undefined) {
          return text;
        }
        text += part;
        if (performance.now() >= until) {
          await nextTask();
          until = performance.now() + taskMs;
        }
      }
    } finally {
      if (this.#fault?.code !== 'fault') {
        parts.free();
      }
    }
  }

  /** The pending, failed and uncertain mutations; the same list, or in it the same objects, as far as nothing has changed. */
  mutations(): readonly PendingMutation[] {
    const last = this.#listed;
    const parts = JSON.parse(this.#call(rawMutations)) as (readonly [from: number, until: number] | ListedMutation)[];
    const list = parts.flatMap(part => ('name' in part ? pendingMutation(part) : last.slice(...part)));
    const isSame = list.length === last.length && list.every((mutation, n) => mutation === last[n]);
    return isSame ? last : (this.#listed = list);
  }

  clearOutcome(clientID: string, mutationID: number): void {
    this.#run(raw => raw.clear_outcome(clientID, mutationID));
  }

  close(): void {
    this.#run(raw => raw.close());
  }

  /** Gives the memory back, after the effect `closed`. */
  free(): void {
    this.#fault ??= closedError();
    this.#raw.free();
  }

  // What is asked for now is sent later, perhaps: it belongs to the trace that it was asked in.
  #trace(): void {
    const {traceparent} = this.#host;
    if (traceparent !== undefined) {
      const current = traceparent();
      this.#call(raw => raw.set_traceparent(current));
    }
  }

  #run(call: (raw: RawCore) => void): void {
    this.#call(call);
    this.#deliver();
  }

  #call<T>(call: (raw: RawCore) => T): T {
    if (this.#fault !== undefined) {
      throw this.#fault;
    }
    this.#mayWait = true;
    try {
      return call(this.#raw);
    } catch (error) {
      if (error instanceof WebAssembly.RuntimeError) {
        this.#panicked(error.message);
      }
      throw this.#fault ?? landfallError(error);
    }
  }

  // Called at most once by the panic hook, and by a trap that came without it. WebAssembly may be on the stack.
  #panicked(message: string): void {
    if (this.#fault !== undefined) {
      return;
    }
    const fault = new LandfallError('fault', `Landfall has stopped because of a fault of its own: ${message}`);
    this.#fault = fault;
    this.#queue.length = 0;
    queueMicrotask(() => this.#host.fault(fault));
  }

  #dropView(id: number): void {
    const view = this.#views.get(id);
    if (this.#fault !== undefined || view === undefined) {
      return;
    }
    view.dropped = true;
    // What was made before the call may still name the view, what comes after it may not.
    this.#fetch();
    this.#call(raw => raw.drop_view(id));
    this.#views.delete(id);
    this.#deliver();
  }

  #deliver(): void {
    if (this.#delivering) {
      return;
    }
    this.#delivering = true;
    this.#mayWait = true;
    try {
      for (;;) {
        if (this.#mayWait) {
          this.#fetch();
        }
        const queue = this.#queue;
        if (queue.length === 0) {
          break;
        }
        this.#queue = [];
        for (const effect of queue) {
          this.#carryOut(effect);
        }
      }
    } catch (error) {
      // What carries out effects must not throw: nobody knows how far it came.
      this.#panicked(error instanceof Error ? error.message : String(error));
    } finally {
      this.#delivering = false;
    }
    if (this.#hasOutward) {
      this.#hasOutward = false;
      // Behind whatever the listeners have made of the change in this turn. `queueMicrotask` would leave the engine of
      // JavaScript for the browser and come back.
      void done.then(this.#carryOutward);
    }
  }

  readonly #carryOutward = (): void => {
    if (this.#fault === undefined && this.#call(carryOutward)) {
      this.#deliver();
    }
  };

  // Takes what waits, if anything: flushes are applied at once, everything else is queued.
  #fetch(): void {
    if (this.#fault !== undefined) {
      return;
    }
    const letter = this.#call(take);
    this.#mayWait = false;
    if (letter === 0) {
      return;
    }
    this.#memory.refresh();
    const more = this.#memory.words[(letter >>> 2) + 1]!;
    this.#hasOutward ||= (more & 2) !== 0;
    try {
      const effects = (more & 1) !== 0 ? (JSON.parse(this.#raw.texts()) as HostEffect[]) : [];
      this.#memory.refresh();
      this.#open(letter >>> 2, effects);
    } catch (error) {
      // A flush that does not fit what came before it: what is shown can no longer be trusted.
      this.#panicked(error instanceof Error ? error.message : String(error));
    }
  }

  // Nothing here calls the module: the letter lies in its memory.
  #open(letter: number, texts: readonly HostEffect[]): void {
    const {words} = this.#memory;
    const end = letter + words[letter]! + 1;
    let text = 0;
    for (let at = letter + 2; at < end; ) {
      switch (words[at++]) {
        case code.flush:
          this.#applyFlush(at);
          at += flushPlaceWords;
          break;
        case code.run:
          this.#queue.push({
            type: 'runCall',
            tx: words[at]!,
            call: words[at + 1]!,
            reason: words[at + 2] === 1 ? 'rebase' : 'optimistic',
            mutationID: words[at + 3]! + words[at + 4]! * 2 ** 32,
          });
          at += 5;
          break;
        case code.ran:
          this.#queue.push({type: 'callRan', call: words[at++]!});
          break;
        case code.stored:
          this.#queue.push({type: 'callStored', call: words[at++]!});
          break;
        case code.confirmed:
          this.#queue.push({type: 'callConfirmed', call: words[at++]!});
          break;
        case code.changed:
          this.#queue.push({type: 'mutationsChanged'});
          break;
        case code.text:
          this.#takeText(texts[text++]);
          break;
        default:
          throw new RangeError(`There is no effect of the code ${words[at - 1]}.`);
      }
    }
  }

  #takeText(effect: HostEffect | undefined): void {
    if (effect === undefined) {
      throw new RangeError('A text is missing among the effects.');
    }
    if (effect.type === 'queryFailed') {
      this.#queryFailed(effect);
    } else {
      this.#queue.push(effect);
    }
  }

  #carryOut(effect: Queued): void {
    if (this.#fault !== undefined) {
      return;
    }
    if (effect.type === 'flush') {
      this.#publish();
    } else {
      this.#host.effect(effect);
    }
  }

  // The flush that follows gives these views the status `error`.
  #queryFailed({views, kind, message, detailsJSON}: Extract<HostEffect, {type: 'queryFailed'}>): void {
    const details = detailsJSON === undefined ? undefined : (JSON.parse(detailsJSON) as ReadonlyJSONValue);
    const failure: QueryErrorDetails = {type: kind === 'parse' ? 'parse' : 'app', message, details};
    for (const id of views) {
      const view = this.#views.get(id);
      if (view !== undefined) {
        view.failure = failure;
      }
    }
  }

  #applyFlush(at: number): void {
    this.#read(at, this.#targetOf);
    this.#queue.push({type: 'flush'});
  }

  #read(at: number, targetOf: (view: number) => Target): void {
    const flush = new FlushPlace(this.#memory, at);
    decodeRowBatch(this.#layout, this.#memory, flush, this.#rows);
    applyOperations(flush.operations, this.#rowOf, targetOf);
    flush.release(this.#rows);
    // The next letter frees this one.
    this.#mayWait ||= flush.isLarge;
  }

  #touch(id: number): OpenView {
    const view = this.#views.get(id);
    if (view === undefined) {
      throw new RangeError(`A flush names view ${id}, which is not open.`);
    }
    if (!view.changed) {
      view.changed = true;
      this.#changed.push(view);
    }
    return view;
  }

  // All views first, then all listeners.
  #publish(): void {
    const views = this.#changed.splice(0).filter(view => !view.dropped);
    if (views.length === 0) {
      return;
    }
    for (const view of views) {
      view.changed = false;
      publishView(view);
    }
    let areTold = false;
    const tell = () => {
      areTold = true;
      for (const view of views) {
        this.#notify(view);
      }
    };
    try {
      this.#host.batch(tell);
    } catch (error) {
      // What batches is the application's, and may render: one that throws must not keep the listeners from hearing.
      this.#host.listenerError(error);
      if (!areTold) {
        tell();
      }
    }
  }

  // One listener that throws must not keep the others from hearing.
  #notify({listener, dropped}: OpenView): void {
    try {
      if (!dropped) {
        listener.notify();
      }
    } catch (error) {
      this.#host.listenerError(error);
    }
  }

  #answer(shape: ListShape, ask: (raw: RawCore) => number): Snapshot {
    this.#fetch();
    const answer = this.#call(ask);
    const tree = new ViewTree(shape);
    this.#memory.refresh();
    try {
      this.#answering = {tree, status: 'unknown'};
      this.#read(answer >>> 2, this.#answerOf);
    } catch (error) {
      this.#panicked(error instanceof Error ? error.message : String(error));
      throw this.#fault ?? error;
    }
    return tree.giveAway();
  }
}

function publishView(view: OpenView): void {
  const {tree, listener} = view;
  try {
    view.snapshot = tree?.publish();
  } catch (error) {
    if (!(error instanceof LandfallError)) {
      throw error;
    }
    // The rows do not have the form that the query promises: it fails, as it would at the server.
    listener.publish(view.snapshot, 'error', {type: 'app', message: error.message});
    return;
  }
  listener.publish(view.snapshot, view.status, view.failure);
}

const take = (raw: RawCore) => raw.take();
const rawMutations = (raw: RawCore) => raw.mutations();
const warmUp = (raw: RawCore) => raw.warm_up();
const carryOutward = (raw: RawCore) => raw.carry_outward();

const codes: {readonly [code: string]: LandfallErrorCode | undefined} = {
  closed: 'closed',
  schema: 'argument',
  argument: 'argument',
  arguments: 'argument',
  'cache-url': 'argument',
  'no-such-view': 'argument',
  query: 'query',
  'unknown-table': 'write',
  'unknown-column': 'write',
  value: 'write',
  'not-connected': 'inspector',
};

// WebAssembly throws an Error whose `name` is the code.
function landfallError(error: unknown): LandfallError {
  if (error instanceof LandfallError) {
    return error;
  }
  const {name, message} = error instanceof Error ? error : new Error(String(error));
  return name === 'transaction-closed'
    ? new TransactionClosedError(message, {cause: error})
    : new LandfallError(codes[name] ?? 'fault', message, {cause: error});
}

export function closedError(): LandfallError {
  return new LandfallError('closed', 'The client is closed.');
}
