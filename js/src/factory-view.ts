/** Views that an application makes itself: `zero.materialize(query, factory)`. */
import type {Snapshot} from './core/view-tree.js';
import {LandfallError} from './landfall-error.js';
import {asQueryInternals, type QueryInternals} from './query/internals.js';
import type {AnyQuery} from './query/query.js';
import type {TTL} from './query/ttl.js';
import type {
  AnyViewFactory,
  ErroredQuery,
  FetchRequest,
  Input,
  Node,
  Output,
  SourceSchema,
  Stream,
} from './query/view-factory.js';
import type {Schema} from './schema/schema.js';
import {type Level, levelsOf, nodesOf, tellChanges} from './view-changes.js';
import {erroredQuery, type SharedView, type Views} from './view.js';

/** Calls the factory, and then tells the view that it made of every change, until it says that it is not needed any more. */
export function materializeWith(
  views: Views,
  schema: Schema,
  query: AnyQuery,
  factory: AnyViewFactory,
  ttl: TTL,
  batch: (apply: () => void) => void,
): unknown {
  const internals = asQueryInternals(query);
  const input = new ViewInput(levelsOf(schema, internals.ast, internals.format));
  const commits: (() => void)[] = [];
  const completion = new Completion(internals);
  // The view may be opened, and may be told of its first rows, before the factory has been called.
  let isMade = false;
  const {view, release} = views.hold(internals, ttl, () => isMade && follow());
  input.released = release;
  const follow = () => {
    input.show(view.getSnapshot()[0]);
    for (const commit of commits) {
      commit();
    }
    completion.follow(view);
  };

  input.show(view.getSnapshot()[0]);
  completion.follow(view);
  let made: unknown;
  try {
    batch(() => {
      made = factory(
        query,
        input,
        internals.format,
        () => input.destroy(),
        commit => void commits.push(commit),
        completion.state,
        newTTL => view.updateTTL(newTTL),
      );
    });
  } catch (error) {
    input.destroy();
    throw error;
  }
  isMade = true;
  return made;
}

class ViewInput implements Input {
  readonly #level: Level;
  #output: Output | undefined;
  #state: Snapshot;
  #isDestroyed = false;
  released: () => void = () => {};

  constructor(level: Level) {
    this.#level = level;
  }

  getSchema(): SourceSchema {
    return this.#level.schema;
  }

  setOutput(output: Output): void {
    this.#output = output;
  }

  fetch({constraint, multiConstraints, start, reverse}: FetchRequest): Stream<Node> {
    if (constraint !== undefined || multiConstraints !== undefined || start !== undefined || reverse === true) {
      throw new LandfallError('argument', 'The input of a view gives all rows in their order: fetch takes {}.');
    }
    return nodesOf(this.#level, this.#state);
  }

  destroy(): void {
    if (!this.#isDestroyed) {
      this.#isDestroyed = true;
      this.#output = undefined;
      this.released();
    }
  }

  /** What is pushed leads to this state. */
  show(state: Snapshot): void {
    const before = this.#state;
    this.#state = state;
    tellChanges(this.#level, before, state, change => {
      // What push returns does its work while it is read.
      for (const _ of this.#output?.push(change, this) ?? []) {
      }
    });
  }
}

/** What a factory is told of the server's answer: once. */
class Completion {
  readonly #query: QueryInternals;
  readonly #promise: Promise<true>;
  #resolve!: (complete: true) => void;
  #reject!: (error: ErroredQuery) => void;
  state: true | ErroredQuery | Promise<true>;

  constructor(query: QueryInternals) {
    this.#query = query;
    this.#promise = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    // A factory need not ask.
    this.#promise.catch(() => {});
    this.state = this.#promise;
  }

  follow(view: SharedView): void {
    const [, details] = view.getSnapshot();
    if (details.type === 'complete') {
      this.state = true;
      this.#resolve(true);
    } else if (details.type === 'error') {
      this.state = erroredQuery(this.#query, details.error);
      this.#reject(this.state);
    }
  }
}
