/** The mutations of a client: the promises of calls made here, and the list of what is not confirmed yet. */
import type {MutationError, MutationOutcome} from './core/mutation-outcome.js';
import type {ReadonlyJSONValue} from './json.js';
import type {AnyMutator} from './mutate/mutator-registry.js';
import type {MutatorResult, MutatorResultDetails} from './mutate/mutator-result.js';
import {failure, resultOf, success, zeroError} from './mutation-result.js';
import type {PendingMutation, PendingMutations} from './pending-mutation.js';
import {StateSource} from './state-source.js';

/** One stage of a call. */
class Stage {
  readonly promise: Promise<MutatorResultDetails>;
  #resolve!: (details: MutatorResultDetails) => void;
  #isOpen = true;

  constructor() {
    this.promise = new Promise(resolve => (this.#resolve = resolve));
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** What is settled already stays as it is. */
  settle(details: MutatorResultDetails): void {
    this.#isOpen = false;
    this.#resolve(details);
  }
}

/** One call of a mutator. */
export class MutationCall {
  readonly mutator: AnyMutator;
  // As JSON, the member of a list; `undefined` if there are none.
  readonly #argsJSON: string | undefined;
  readonly client: Stage = new Stage();
  readonly durable: Stage = new Stage();
  readonly server: Stage = new Stage();
  /** What the mutator threw here, with the stack that its result has not. */
  thrown: unknown;

  constructor(mutator: AnyMutator, argsJSON: string | undefined) {
    this.mutator = mutator;
    this.#argsJSON = argsJSON;
  }

  /**
   * The arguments as the application gave them, for one run: what it does with its object later must not reach the mutator,
   * and what a run does with them must not reach the next one.
   */
  args(): ReadonlyJSONValue | undefined {
    return this.#argsJSON === undefined ? undefined : (JSON.parse(this.#argsJSON) as readonly ReadonlyJSONValue[])[0];
  }

  settleAll(details: MutatorResultDetails): void {
    this.client.settle(details);
    this.durable.settle(details);
    this.server.settle(details);
  }
}

/** The calls of `mutate` that have not ended. */
export class MutationCalls {
  readonly #calls = new Map<number, MutationCall>();
  // Waiting for their number: the core is not there yet.
  readonly #unnumbered = new Set<MutationCall>();

  /** A new call; `start` is given what to call when the core has a number for it, or refuses it. */
  begin(call: MutationCall, start: (named: (call: number) => void, refused: (message: string) => void) => void): MutatorResult {
    this.#unnumbered.add(call);
    start(
      number => {
        this.#unnumbered.delete(call);
        this.#calls.set(number, call);
      },
      message => {
        this.#unnumbered.delete(call);
        call.settleAll(zeroError(message));
      },
    );
    return {client: call.client.promise, durable: call.durable.promise, server: call.server.promise};
  }

  /** The call of this number, if it has not ended. */
  get(call: number): MutationCall | undefined {
    return this.#calls.get(call);
  }

  ranLocally(call: number): void {
    this.#calls.get(call)?.client.settle(success);
  }

  /** Nothing is stored or sent. */
  failedLocally(call: number, error: MutationError): void {
    this.#calls.get(call)?.settleAll(failure(error));
    this.#calls.delete(call);
  }

  stored(call: number, error: string | undefined): void {
    this.#settleStage(call, 'durable', error === undefined ? success : zeroError(error));
  }

  ended(call: number, outcome: MutationOutcome): void {
    this.#settleStage(call, 'server', resultOf(outcome));
  }

  confirmed(call: number): void {
    this.#settleStage(call, 'server', success);
  }

  // The server's answer may come before the store's.
  #settleStage(number: number, stage: 'durable' | 'server', details: MutatorResultDetails): void {
    const call = this.#calls.get(number);
    if (call === undefined) {
      return;
    }
    call[stage].settle(details);
    if (!call.durable.isOpen && !call.server.isOpen) {
      this.#calls.delete(number);
    }
  }

  /**
   * The server will not be heard of any more. What is on its way to storage still gets there, and the core still tells
   * which calls have run: that may already wait to be delivered.
   */
  abandonServer(message: string): void {
    const error = zeroError(message);
    for (const call of this.#calls.values()) {
      call.server.settle(error);
    }
    for (const call of this.#unnumbered) {
      call.settleAll(error);
    }
    this.#unnumbered.clear();
  }

  /** No answers of any kind will come. */
  abandon(message: string): void {
    for (const call of this.#calls.values()) {
      call.settleAll(zeroError(message));
    }
    this.#calls.clear();
  }
}

/** The result of a call that could not even begin. */
export function refusedMutation(message: string): MutatorResult {
  const refused = Promise.resolve(zeroError(message));
  return {client: refused, durable: refused, server: refused};
}

/** The list of unconfirmed mutations. The core is asked for it when somebody looks, not at every change. */
export class PendingMutationList implements PendingMutations {
  readonly clear: PendingMutations['clear'];
  readonly #changes = new StateSource<undefined>(undefined);
  #list: readonly PendingMutation[] = [];
  // Gives the present list, if that is another than `#list`.
  #read: (() => readonly PendingMutation[]) | undefined;

  constructor(clear: PendingMutations['clear']) {
    this.clear = clear;
  }

  get current(): readonly PendingMutation[] {
    const read = this.#read;
    if (read !== undefined) {
      this.#read = undefined;
      this.#list = read();
    }
    return this.#list;
  }

  readonly subscribe = (listener: (list: readonly PendingMutation[]) => void): (() => void) =>
    this.#changes.subscribe(() => listener(this.current));

  /** The list is another now; `read` gives it as long as the core lives. */
  changed(read: () => readonly PendingMutation[]): void {
    this.#read = read;
    this.#changes.set(undefined);
  }

  /** The core can no longer be asked: the list stays as it was last seen. */
  keepLast(): void {
    this.#read = undefined;
  }
}
