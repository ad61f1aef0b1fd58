// Runs a mutation and shows the reason when it is refused; the optimistic change is rolled back by then.
import type { MutatorResult } from 'landfall';
import { useSyncExternalStore } from 'react';

let notice: string | undefined;
const listeners = new Set<() => void>();

function show(text: string | undefined): void {
  notice = text;
  for (const listener of listeners) listener();
}

/** The newest refusal, for as long as it is shown. */
export const useNotice = (): string | undefined => useSyncExternalStore(
  listener => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  },
  () => notice,
);

export async function write(result: MutatorResult): Promise<boolean> {
  const outcome = await result.client;
  if (outcome.type === 'error') {
    announce(outcome.error.message);
    return false;
  }
  void result.server.then(outcome => {
    if (outcome.type === 'error' && outcome.error.type === 'app') announce(outcome.error.message);
  });
  return true;
}

export function announce(text: string): void {
  show(text);
  setTimeout(() => {
    if (notice === text) show(undefined);
  }, 8000);
}
