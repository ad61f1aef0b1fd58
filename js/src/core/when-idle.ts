/** Calls `step` in moments in which the page has nothing to do, once in each, until it says that there is no more. */
export function whenIdle(step: () => boolean): void {
  // Not every browser tells when that is.
  globalThis.requestIdleCallback?.(() => {
    if (step()) {
      whenIdle(step);
    }
  });
}
