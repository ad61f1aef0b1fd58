/** The questions of an inspector that wait for the server's answer. */
import type {ConnectionSource} from '../connection.js';
import {LandfallError} from '../landfall-error.js';
import type {InspectorAnswer} from './inspector.js';

interface Waiting {
  answered(answer: InspectorAnswer): void;
  failed(error: LandfallError): void;
}

/** Sends questions when there is a connection; a question whose connection is lost fails. */
export class Questions {
  readonly #send: (questionJSON: string) => void;
  readonly #state: ConnectionSource;
  readonly #waiting = new Map<string, Waiting>();
  #last = 0;

  constructor(state: ConnectionSource, send: (questionJSON: string) => void) {
    this.#state = state;
    this.#send = send;
    state.subscribe(({name}) => {
      if (name !== 'connected') {
        this.#failAll();
      }
    });
  }

  async ask(question: {readonly op: string; readonly [field: string]: unknown}): Promise<InspectorAnswer> {
    await this.#connected();
    const id = String(++this.#last);
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, {answered: resolve, failed: reject});
      try {
        this.#send(JSON.stringify({...question, id}));
      } catch (error) {
        this.#waiting.delete(id);
        reject(error as LandfallError);
      }
    });
  }

  /** The server has answered the question of this id. */
  answered(id: string, op: string, valueJSON: string): void {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    waiting?.answered({op, value: JSON.parse(valueJSON)});
  }

  #failAll(): void {
    const all = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const {failed} of all) {
      failed(new LandfallError('inspector', 'The connection was lost before the server answered.'));
    }
  }

  // Resolves when there is a connection; rejects when none will come by itself.
  #connected(): Promise<void> {
    return new Promise((resolve, reject) => {
      const check = (): boolean => {
        const {name} = this.#state.current;
        if (name === 'connected') {
          resolve();
        } else if (name !== 'connecting') {
          reject(new LandfallError('inspector', `The inspector asks the server, and the connection is ${name}.`));
        }
        return name !== 'connecting';
      };
      if (!check()) {
        const stop = this.#state.subscribe(() => {
          if (check()) {
            stop();
          }
        });
      }
    });
  }
}
