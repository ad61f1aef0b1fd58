'use client';

import {useCallback, useSyncExternalStore} from 'react';
import type {ConnectionState} from '../connection.js';
import {useZero} from './zero-context.js';

/** The state of the connection to the server. */
export function useConnectionState(): ConnectionState {
  const {state} = useZero().connection;
  const subscribe = useCallback((listener: () => void) => state.subscribe(listener), [state]);
  const current = useCallback(() => state.current, [state]);
  return useSyncExternalStore(subscribe, current, current);
}

/** @deprecated Whether the server is connected; use `useConnectionState`. */
export function useZeroOnline(): boolean {
  return useConnectionState().name === 'connected';
}
