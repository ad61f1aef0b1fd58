// Which page is shown, kept in the address: `/` is the list, `/issue/<id>` one issue.
import { useSyncExternalStore } from 'react';

const changed = 'tracker:route';

const subscribe = (listener: () => void): (() => void) => {
  addEventListener('popstate', listener);
  addEventListener(changed, listener);
  return () => {
    removeEventListener('popstate', listener);
    removeEventListener(changed, listener);
  };
};

/** The id of the issue that is open, or undefined on the list. */
export function useOpenIssue(): string | undefined {
  const path = useSyncExternalStore(subscribe, () => location.pathname);
  const id = /^\/issue\/([^/]+)$/.exec(path)?.[1];
  return id === undefined ? undefined : decodeURIComponent(id);
}

export function goTo(path: string): void {
  history.pushState(null, '', path);
  dispatchEvent(new Event(changed));
}

export const issuePath = (id: string): string => `/issue/${encodeURIComponent(id)}`;
