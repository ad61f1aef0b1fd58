/**
 * Stores of earlier schemas. A store belongs to one schema, so a deploy with another one begins with an empty store. What
 * was written offline before it still waits in the old one; here it is sent, under the names it was stored with. The rows
 * of the old store are shown by the new client until it has rows of its own; only then the old store may go.
 */
import {callBack} from './call-back.js';
import {Core, type ForHost} from './core/core.js';
import {loadBindings} from './core/load.js';
import {dropDatabase} from './drop-database.js';
import {inTime} from './in-time.js';
import type {PendingMutation} from './pending-mutation.js';
import {newClientID, randomBytes} from './random.js';
import {isEarlierStore} from './storage-name.js';
import type {WasmSource} from './wasm-source.js';

/** What draining needs of the client. */
export interface OldStoresHost {
  readonly wasm: WasmSource | undefined;
  /** The options of a core on this storage, as JSON. */
  coreOptions(storageName: string, clientID: string): string;
  log(message: string): void;
  /** The list of mutations has changed. */
  changed(): void;
  readonly closed: boolean;
}

// Offline, or when the server does not answer, the new store is not held back for longer than this.
const patienceMs = 10_000;

export class OldStores {
  readonly #host: OldStoresHost;
  readonly #cores = new Map<string, Core>();
  readonly #empty = new Set<string>();
  readonly #closed = new Set<string>();
  // Storage failed: that nothing was found in these does not say that nothing is there.
  readonly #doubtful = new Set<string>();
  #isUnneeded = false;

  constructor(host: OldStoresHost) {
    this.#host = host;
  }

  /** Begins to drain these stores; resolves when they are drained, or after a while. */
  async drain(names: readonly string[]): Promise<void> {
    await inTime(Promise.all(names.map(name => this.#drainOne(name))), patienceMs);
  }

  /** The unconfirmed mutations in old stores. */
  mutations(): PendingMutation[] {
    return [...this.#cores.values()].flatMap(core => core.mutations());
  }

  clearOutcome(clientID: string, id: number): void {
    this.#cores.forEach(core => core.clearOutcome(clientID, id));
  }

  connect(auth: string | undefined): void {
    this.#cores.forEach(core => core.connect(auth));
  }

  /** The new store has rows of its own: what is drained may go. */
  unneeded(): void {
    this.#isUnneeded = true;
    this.#dropEmpty();
  }

  close(): void {
    this.#cores.forEach(core => callBack(() => core.close()));
    this.#cores.clear();
  }

  async #drainOne(name: string): Promise<void> {
    try {
      const bindings = await loadBindings(this.#host.wasm, () => !this.#host.closed);
      if (this.#host.closed) {
        return;
      }
      await new Promise<void>((resolve, reject) => {
        let isDrained = false;
        let isRefused = false;
        // Waiting longer does not help: the page goes on, and the writes stay where they are.
        const refused = (reason: string): void => {
          if (!isRefused) {
            isRefused = true;
            this.#host.log(
              `Writes of an earlier release wait in the store ${name} and cannot be sent: ${reason}. They are kept, and `
                + 'tried again with every page load; a server that takes the schema of that release lets them through.',
            );
          }
          resolve();
        };
        const effect = (effect: ForHost): void => {
          switch (effect.type) {
            case 'drained':
              isDrained = true;
              this.#giveUpWhenEmpty(name);
              return resolve();
            case 'mutationsChanged':
              this.#host.changed();
              return isDrained ? this.#giveUpWhenEmpty(name) : undefined;
            case 'updateNeeded':
              return refused(effect.message);
            case 'connection':
              if (effect.state.name === 'error') {
                return refused(effect.state.reason);
              }
              // The new client is told the same, and tells the application.
              return effect.state.name === 'needs-auth' ? resolve() : undefined;
            case 'storageProblem':
              this.#doubtful.add(name);
              return this.#host.log(`An earlier store (${name}): ${effect.message}`);
            case 'closed':
              core.free();
              this.#closed.add(name);
              return this.#dropEmpty();
          }
        };
        const options = this.#host.coreOptions(name, newClientID());
        const core = new Core(bindings, options, randomBytes(32), {
          effect,
          fault: error => {
            this.#cores.delete(name);
            reject(error);
          },
          batch: notify => notify(),
          listenerError: () => {},
        });
        this.#cores.set(name, core);
        core.start();
      });
    } catch (error) {
      this.#host.log(`What was left in an earlier store (${name}) could not be sent: ${String(error)}`);
    }
  }

  #dropEmpty(): void {
    const isGone = (name: string) => this.#isUnneeded && this.#closed.has(name) && !this.#doubtful.has(name);
    const gone = [...this.#empty].filter(isGone);
    for (const name of gone) {
      this.#empty.delete(name);
      // The lock of the core that is closed is let go of in its own time.
      setTimeout(() => void dropWhenUnused(name), 500);
    }
  }

  // Nothing pending, and no failure that the user has not seen.
  #giveUpWhenEmpty(name: string): void {
    const core = this.#cores.get(name);
    if (core !== undefined && core.mutations().length === 0) {
      this.#cores.delete(name);
      this.#empty.add(name);
      core.close();
    }
  }
}

/** The names of all databases of this origin. */
export async function storageNames(): Promise<string[]> {
  // Some browsers do not list their databases; there a page with the old code has to send what is left.
  const known = (await globalThis.indexedDB?.databases?.()) ?? [];
  return known.map(({name}) => name ?? '');
}

/** Those of earlier schemas and formats beside this one. */
export function earlierStores(names: readonly string[], storageName: string): string[] {
  return names.filter(name => isEarlierStore(name, storageName));
}

// A page with the old code may still use it; without locks nobody can tell.
async function dropWhenUnused(name: string): Promise<void> {
  const locks = await globalThis.navigator?.locks?.query();
  const isUsed = locks?.held?.some(lock => lock.name?.startsWith(`${name}/client/`)) ?? true;
  if (!isUsed) {
    await dropDatabase(name).catch(() => {});
  }
}
