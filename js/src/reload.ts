/** Loads the page again when newer code is needed: what an application gets that does not decide itself. */

const storageKey = 'landfall.reload';
const reasonKey = 'landfall.reload.reason';
const firstPauseMs = 500;
const longestPauseMs = 60_000;
const forgottenAfterMs = 120_000;
// Where the last reload cannot be remembered.
const blindPauseMs = 10_000;

/** Reloads the page, at once the first time and with growing pauses when that did not help. */
export function reloadPage(reason: string): void {
  if (typeof location === 'undefined') {
    return;
  }
  try {
    sessionStorage.setItem(reasonKey, reason);
  } catch {
    // Then the console that is cleared with the page is the only place.
  }
  setTimeout(() => location.reload(), nextPause(Date.now()));
}

/** Why the page was reloaded, for its new console; told once. */
export function reasonOfReload(): string | undefined {
  try {
    const reason = sessionStorage.getItem(reasonKey) ?? undefined;
    sessionStorage.removeItem(reasonKey);
    return reason;
  } catch {
    return undefined;
  }
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
