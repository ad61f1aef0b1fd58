/** Loads the page again when newer code is needed: what an application gets that does not decide itself. */

const storageKey = 'landfall.reload';
const firstPauseMs = 500;
const longestPauseMs = 60_000;
const forgottenAfterMs = 120_000;
// Where the last reload cannot be remembered.
const blindPauseMs = 10_000;

/** Reloads the page, at once the first time and with growing pauses when that did not help. */
export function reloadPage(): void {
  if (typeof location === 'undefined') {
    return;
  }
  setTimeout(() => location.reload(), nextPause(Date.now()));
}

function nextPause(now: number): number {
  try {
    const last = JSON.parse(sessionStorage.getItem(storageKey) ?? '{"at":0,"pause":0}') as {at: number; pause: number};
    const recent = now - last.at < forgottenAfterMs;
    const pause = recent ? Math.min(last.pause * 2, longestPauseMs) : firstPauseMs;
    sessionStorage.setItem(storageKey, JSON.stringify({at: now + pause, pause}));
    return pause;
  } catch {
    return blindPauseMs;
  }
}
