/** Time that passes without work: the benchmark counts work, so waiting is made short for every engine alike. */

const timer = globalThis.setTimeout.bind(globalThis);
const {port1, port2} = new MessageChannel();
const due: (() => void)[] = [];
port1.onmessage = () => due.shift()?.();

/** A task of its own, at once. */
export const turn = (): Promise<void> =>
  new Promise(resolve => {
    due.push(resolve);
    port2.postMessage(0);
  });

export const pause = (ms: number): Promise<void> => new Promise(resolve => timer(resolve, ms));

/**
 * Browsers make nested timers of 0 ms wait for 4 ms.
 * A client that yields by such timers would be charged for waiting; here they run as tasks without a pause.
 */
export function shortenTimers(): void {
  const cancelled = new Set<number>();
  let next = -1;
  const set = (handler: TimerHandler, ms?: number, ...args: unknown[]): number => {
    if (typeof handler !== 'function' || (ms ?? 0) > 0) {
      return timer(handler, ms, ...args);
    }
    const id = next--;
    due.push(() => {
      if (!cancelled.delete(id)) {
        (handler as (...args: unknown[]) => void)(...args);
      }
    });
    port2.postMessage(0);
    return id;
  };
  const clear = globalThis.clearTimeout.bind(globalThis);
  globalThis.setTimeout = set as typeof globalThis.setTimeout;
  globalThis.clearTimeout = ((id?: number) => (id !== undefined && id < 0 ? void cancelled.add(id) : clear(id))) as typeof clearTimeout;
}

/** Resolves when `check` holds. */
export async function until(what: string, check: () => boolean, limitMs = 120_000): Promise<void> {
  const end = performance.now() + limitMs;
  while (!check()) {
    if (performance.now() > end) {
      throw new Error(`not within ${limitMs} ms: ${what}`);
    }
    await turn();
  }
}

/** Collects garbage now, so that no engine pays for what came before it. */
export function collect(): void {
  (globalThis as {gc?: () => void}).gc?.();
}
