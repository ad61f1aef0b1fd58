/** Runs of mutators that follow one another: together they are one task of the page, however many they are. */
import {nextTask} from './core/next-task.js';

// After so long the page has its turn before the next run.
const mostMs = 10;

export class RunChain {
  // A run is being settled; one that begins meanwhile is the next link.
  #isSettling = false;
  #isLinked = false;
  // When the first run of the chain had ended, or the page had its turn.
  #since = 0;

  /** A run begins. */
  begins(): void {
    this.#isLinked = this.#isSettling;
  }

  /**
   * A run has ended, and is settled: now, or in a task of its own if it is not the first one and the page has waited. A page
   * that is hidden or left may have no other task.
   */
  ends(hasTurns: () => boolean, settle: () => void): void {
    const now = performance.now();
    if (!this.#isLinked) {
      this.#since = now;
    } else if (now - this.#since > mostMs && hasTurns()) {
      void nextTask().then(() => {
        this.#since = performance.now();
        this.#settle(settle);
      });
      return;
    }
    this.#settle(settle);
  }

  #settle(settle: () => void): void {
    this.#isSettling = true;
    try {
      settle();
    } finally {
      this.#isSettling = false;
    }
  }
}
