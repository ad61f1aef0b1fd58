/** The mutators of a client: what `zero.mutate` does, and the runs that the core asks for. */
import type {Core, ForHost} from './core/core.js';
import type {Args} from './json.js';
import {messageOf} from './landfall-error.js';
import {type AnyMutators, batch, type KnownMutators, knownMutators, withLegacyMembers} from './mutate/legacy-mutators.js';
import {type AnyMutateRequest, type AnyMutator, mutatorNotRegisteredMessage} from './mutate/mutator-registry.js';
import type {MutatorResult} from './mutate/mutator-result.js';
import {MutationCall, MutationCalls, refusedMutation} from './mutations.js';
import {RunChain} from './run-chain.js';
import {type MutatorSurroundings, runMutator, runStoredMutator} from './running-mutator.js';
import type {Schema} from './schema/schema.js';

type Asked<T extends ForHost['type']> = Extract<ForHost, {type: T}>;

/** What mutators need of their client. */
export interface MutatorsHost {
  readonly schema: Schema;
  readonly context: unknown;
  /** The token of now. */
  readonly auth: string | undefined;
  readonly clientID: string;
  readonly closed: boolean;
  /** Calls `use` when there is a core. */
  whenCore(use: (core: Core) => void): void;
  /** Tells a developer who does not look at results. */
  log(message: string, ...details: unknown[]): void;
}

export class ClientMutators {
  /** What `zero.mutate` is. */
  readonly mutate: object;
  /** What `zero.mutateBatch` is; there only if the schema enables legacy mutators. */
  readonly mutateBatch: ((write: (mutate: any) => unknown) => unknown) | undefined;
  /** The calls made here. */
  readonly calls = new MutationCalls();
  readonly #host: MutatorsHost;
  readonly #known: KnownMutators;
  readonly #chain = new RunChain();

  constructor(host: MutatorsHost, given: AnyMutators | undefined) {
    const {schema} = host;
    this.#host = host;
    this.#known = knownMutators(given);
    const call = (mutator: AnyMutator, args: Args) => this.#call(mutator, args);
    const mutate = (request: AnyMutateRequest) => this.#mutate(request);
    this.mutate = withLegacyMembers(mutate, schema, given, this.#known, call);
    this.mutateBatch = schema.enableLegacyMutators === true ? write => batch(schema, call, write) : undefined;
  }

  /** Runs the mutator of a call that was made here. */
  runCall(core: Core, {tx, call, reason, mutationID}: Asked<'runCall'>): void {
    const known = this.calls.get(call);
    if (known === undefined) {
      core.settle(tx, {type: 'zero', message: 'The arguments of a call are lost.', detailsJSON: undefined});
    } else {
      const run = {tx, reason, clientID: this.#host.clientID, mutationID};
      runMutator(core, this.#surroundings(), run, known.mutator, known.args(), error => (known.thrown = error));
    }
  }

  /** Runs what another page or session has called. */
  runStored(core: Core, asked: Asked<'runMutator'>): void {
    runStoredMutator(core, this.#surroundings(), asked);
  }

  /** A call came to nothing here: nothing is stored or sent. */
  failedLocally({call, error}: Asked<'mutationLocal'>): void {
    const thrown = this.calls.get(call)?.thrown;
    this.#tell(call, `failed in the page: ${error.message}`, ...(thrown === undefined ? [] : [thrown]));
    this.calls.failedLocally(call, error);
  }

  /** The server has decided, or is known to be unable to. */
  ended({call, outcome}: Asked<'mutationOutcome'>): void {
    if (call === undefined) {
      return;
    }
    if (outcome.type === 'failed') {
      this.#tell(call, `was refused by the server: ${outcome.error.message}`);
    }
    this.calls.ended(call, outcome);
  }

  #tell(call: number, what: string, ...details: unknown[]): void {
    const name = this.calls.get(call)?.mutator.mutatorName;
    this.#host.log(`The mutation${name === undefined ? '' : ` ${name}`} ${what}`, ...details);
  }

  #surroundings(): MutatorSurroundings {
    const {schema, context, auth} = this.#host;
    return {schema, context, mutators: this.#known, auth, chain: this.#chain};
  }

  #mutate(request: AnyMutateRequest): MutatorResult {
    if ((request as AnyMutateRequest | undefined)?.mutator === undefined) {
      throw new TypeError('zero.mutate takes the call of a mutator, as in zero.mutate(mutators.issue.close({id})).');
    }
    const {mutator, args} = request;
    if (!this.#known.has(mutator)) {
      throw new Error(mutatorNotRegisteredMessage(mutator.mutatorName));
    }
    return this.#call(mutator, args);
  }

  #call(mutator: AnyMutator, args: Args): MutatorResult {
    if (this.#host.closed) {
      return refusedMutation('The client is closed.');
    }
    const argsJSON = jsonOf(mutator.mutatorName, args);
    return this.calls.begin(new MutationCall(mutator, args === undefined ? undefined : argsJSON), (named, refused) => {
      this.#host.whenCore(core => {
        try {
          core.mutate(mutator.mutatorName, argsJSON, named);
        } catch (error) {
          refused(messageOf(error));
        }
      });
    });
  }
}

function jsonOf(name: string, args: Args): string {
  try {
    return JSON.stringify([args ?? null]);
  } catch (error) {
    const place = bigintIn(args, 'args');
    const what = place === undefined ? messageOf(error) : `${place} is a bigint; pass a number or a string.`;
    throw new TypeError(`The arguments of the mutator ${name} cannot be written as JSON: ${what}`, {cause: error});
  }
}

/** Where a value holds a `bigint`; what refers to itself is another mistake, and ends the search. */
function bigintIn(value: unknown, place: string, within: readonly unknown[] = []): string | undefined {
  if (typeof value === 'bigint') {
    return place;
  }
  if (typeof value !== 'object' || value === null || within.includes(value)) {
    return undefined;
  }
  for (const [key, member] of Object.entries(value)) {
    const found = bigintIn(member, Array.isArray(value) ? `${place}[${key}]` : `${place}.${key}`, [...within, value]);
    if (found !== undefined) {
      return found;
    }
  }
  return undefined;
}
