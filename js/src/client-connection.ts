import type {Connection, ConnectionState} from './connection.js';
import {StateSource} from './state-source.js';

/** The connection of one client; `connectCore` passes a token on. */
export class ClientConnection implements Connection {
  readonly state = new StateSource<ConnectionState>({name: 'connecting'});
  readonly #connectCore: (auth: string | undefined) => void;

  constructor(connectCore: (auth: string | undefined) => void) {
    this.#connectCore = connectCore;
  }

  async connect(options: {readonly auth?: string | null | undefined} = {}): Promise<void> {
    const {name} = this.state.current;
    const changed = name === 'needs-auth' || name === 'error' ? this.#nextState() : undefined;
    this.#connectCore(options.auth ?? undefined);
    await changed;
  }

  #nextState(): Promise<void> {
    return new Promise(resolve => {
      const stop = this.state.subscribe(() => {
        stop();
        resolve();
      });
    });
  }
}
