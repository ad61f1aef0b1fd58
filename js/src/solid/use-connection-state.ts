import {type Accessor, createComputed, createMemo, createSignal, onCleanup} from 'solid-js';
import type {ConnectionState} from '../connection.js';
import {useZero} from './use-zero.js';

/** The state of the connection to the server. */
export function useConnectionState(): Accessor<ConnectionState> {
  const zero = useZero();
  const [current, setCurrent] = createSignal<ConnectionState>(zero().connection.state.current);
  createComputed(() => {
    const {state} = zero().connection;
    setCurrent(() => state.current);
    onCleanup(state.subscribe(() => void setCurrent(() => state.current)));
  });
  return current;
}

/** @deprecated Whether the server is connected; use `useConnectionState`. */
export function useZeroOnline(): Accessor<boolean> {
  const state = useConnectionState();
  return createMemo(() => state().name === 'connected');
}
