/** The mutations of a client: the promises of calls made here, and the list of what is not confirmed yet. */
import type {MutationError, MutationOutcome} from './core/mutation-outcome.js';
import type {ReadonlyJSONValue} from './json.js';
import type {MutatorResult, MutatorResultDetails, MutatorResultErrorDetails} from './mutate/mutator-result.js';
import type {PendingMutation, PendingMutations} from './pending-mutation.js';
import {StateSource} from './state-source.js';

type Settle = (details: MutatorResultDetails) => void;

interface Call {
  readonly args: ReadonlyJSONValue | undefined;
  readonly client: Settle;
  readonly durable: Settle;
  readonly server: Settle;
  /** The stages still to come after the local run. */
  readonly open: Set<'durable' | 'server'>;
}

const success: MutatorResultDetails = Object.freeze({type: 'success'});

/** The calls of `mutate` whose promises are not all settled. */
export class MutationCalls {
  readonly #calls = new Map<number, Call>();
  // Waiting for their number: the core is not there yet.
  readonly #unnumbered = new Set<Call>();

  /** A new call; `start` is given what to call when the core has a number for it, or refuses it. */
  begin(
    args: ReadonlyJSONValue | undefined,
    start: (named: (call: number) => void, refused: (message: string) => void) => void,
  ): MutatorResult {
    let settle!: {client: Settle; durable: Settle; server: Settle};
    const client = new Promise<MutatorResultDetails>(resolve => (settle = {...settle, client: resolve}));
    const durable = new Promise<MutatorResultDetails>(resolve => (settle = {...settle, durable: resolve}));
    const server = new Promise<MutatorResultDetails>(resolve => (settle = {...settle, server: resolve}));
    const call: Call = {args, ...settle, open: new Set(['durable', 'server'])};
    this.#unnumbered.add(call);
    start(
      number => {
        this.#unnumbered.delete(call);
        this.#calls.set(number, call);
      },
      message => {
        this.#unnumbered.delete(call);
        settleAll(call, zeroError(message));
      },
    );
    return {client, durable, server};
  }

  /** The arguments as the application gave them. */
  argsOf(call: number): {readonly args: ReadonlyJSONValue | undefined} | undefined {
    return this.#calls.get(call);
  }

  ranLocally(call: number, error: MutationError | undefined): void {
    const entry = this.#calls.get(call);
    if (error === undefined) {
      entry?.client(success);
    } else if (entry !== undefined) {
      // Nothing is stored or sent.
      settleAll(entry, failure(error));
      this.#calls.delete(call);
    }
  }

  stored(call: number, error: string | undefined): void {
    this.#settleStage(call, 'durable', error === undefined ? success : zeroError(error));
  }

  ended(call: number, outcome: MutationOutcome): void {
    this.#settleStage(call, 'server', resultOf(outcome));
  }

  // The server's answer may come before the store's.
  #settleStage(number: number, stage: 'durable' | 'server', details: MutatorResultDetails): void {
    const call = this.#calls.get(number);
    if (call === undefined) {
      return;
    }
    call[stage](details);
    call.open.delete(stage);
    if (call.open.size === 0) {
      this.#calls.delete(number);
    }
  }

  /** The server will not be heard of any more; what is on its way to storage still gets there. */
  abandonServer(message: string): void {
    const error = zeroError(message);
    for (const call of this.#calls.values()) {
      call.client(error);
      call.server(error);
    }
    for (const call of this.#unnumbered) {
      settleAll(call, error);
    }
    this.#unnumbered.clear();
  }

  /** No answers of any kind will come. */
  abandon(message: string): void {
    for (const call of this.#calls.values()) {
      settleAll(call, zeroError(message));
    }
    this.#calls.clear();
  }
}

/** The result of a call that could not even begin. */
export function refusedMutation(message: string): MutatorResult {
  const refused = Promise.resolve(zeroError(message));
  return {client: refused, durable: refused, server: refused};
}

// A promise that is settled already stays as it is.
function settleAll(call: Call, details: MutatorResultDetails): void {
  call.client(details);
  call.durable(details);
  call.server(details);
}

function resultOf(outcome: MutationOutcome): MutatorResultDetails {
  switch (outcome.type) {
    case 'confirmed':
      return success;
    case 'failed':
      return failure(outcome.error);
    case 'uncertain':
      return zeroError('The server no longer knows whether this mutation was applied.');
  }
}

function failure({type, message, detailsJson}: MutationError): MutatorResultErrorDetails {
  if (type === 'zero') {
    return zeroError(message);
  }
  const details = detailsJson === undefined ? undefined : (JSON.parse(detailsJson) as ReadonlyJSONValue);
  return {type: 'error', error: {type: 'app', message, details}};
}

function zeroError(message: string): MutatorResultErrorDetails {
  return {type: 'error', error: {type: 'zero', message}};
}

// A mutation as the core lists it.
interface ListedMutation {
  readonly clientId: string;
  readonly mutationId: number;
  readonly name: string;
  readonly argsJson: string;
  readonly outcome: MutationOutcome | null;
}

/** The list of unconfirmed mutations. The core is asked for it when somebody looks, not at every change. */
export class PendingMutationList implements PendingMutations {
  readonly clear: PendingMutations['clear'];
  readonly #changes = new StateSource<undefined>(undefined);
  #list: readonly PendingMutation[] = [];
  // Gives the core's present list, if that is another than `#list`.
  #read: (() => string) | undefined;

  constructor(clear: PendingMutations['clear']) {
    this.clear = clear;
  }

  get current(): readonly PendingMutation[] {
    const read = this.#read;
    if (read !== undefined) {
      this.#read = undefined;
      this.#list = (JSON.parse(read()) as ListedMutation[]).map(pendingMutation);
    }
    return this.#list;
  }

  readonly subscribe = (listener: (list: readonly PendingMutation[]) => void): (() => void) =>
    this.#changes.subscribe(() => listener(this.current));

  /** The list is another now; `mutationsJSON` gives it as long as the core lives. */
  changed(mutationsJSON: () => string): void {
    this.#read = mutationsJSON;
    this.#changes.set(undefined);
  }

  /** The core can no longer be asked: the list stays as it was last seen. */
  keepLast(): void {
    this.#read = undefined;
  }
}

function pendingMutation({clientId, mutationId, name, argsJson, outcome}: ListedMutation): PendingMutation {
  const base = {clientID: clientId, id: mutationId, name, args: (JSON.parse(argsJson) as ReadonlyJSONValue[])[0]};
  const result = outcome === null ? undefined : resultOf(outcome);
  if (result?.type !== 'error') {
    return {...base, state: 'pending'};
  }
  const state = outcome?.type === 'failed' ? 'failed' : 'uncertain';
  return {...base, state, reason: result.error.message, error: result.error};
}
