import type {Source} from './connection.js';

/** A value with subscribers; a listener that throws does not keep the others from hearing. */
export class StateSource<T> implements Source<T> {
  readonly #listeners = new Set<(value: T) => void>();
  #current: T;

  constructor(initial: T) {
    this.#current = initial;
  }

  get current(): T {
    return this.#current;
  }

  set(value: T): void {
    this.#current = value;
    for (const listener of [...this.#listeners]) {
      try {
        listener(value);
      } catch (error) {
        reportError(error);
      }
    }
  }

  // An arrow function, so that React can be handed it as it is.
  readonly subscribe = (listener: (value: T) => void): (() => void) => {
    // Wrapped, so that the same function can subscribe twice.
    const own = (value: T) => listener(value);
    this.#listeners.add(own);
    return () => {
      this.#listeners.delete(own);
    };
  };
}

/** Hands an error of the application's code to the page's error handlers, after what is going on now. */
export function reportError(error: unknown): void {
  queueMicrotask(() => {
    throw error;
  });
}
