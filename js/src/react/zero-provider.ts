'use client';

import {createElement, type ReactElement, type ReactNode, useEffect, useRef, useState} from 'react';
import type {DefaultContext, DefaultSchema} from '../default-types.js';
import type {AnyMutators} from '../mutate/legacy-mutators.js';
import type {Schema} from '../schema/schema.js';
import type {ZeroOptions} from '../zero-options.js';
import {Zero} from '../zero.js';
import {type AnyZero, ZeroContext} from './zero-context.js';

/** What `ZeroProvider` takes: the options of an instance that it makes and closes, or an instance of yours. */
export type ZeroProviderProps<S extends Schema = DefaultSchema, MD extends AnyMutators | undefined = any, C = DefaultContext> = {
  readonly children?: ReactNode;
} & (
  | (ZeroOptions<S, MD, C> & {
      /** Called with each instance that the provider makes. */
      readonly init?: ((zero: Zero<S, MD, C>) => void) | undefined;
      readonly zero?: undefined;
    })
  | {readonly zero: Zero<S, MD, C>}
);

/**
 * Makes a Zero instance for the components inside, and closes it when it goes.
 *
 * The instance is made in an effect, so nothing inside is rendered on a server or before it is there.
 * A change of any option but `auth` makes a new instance: keep objects and functions that you pass in place between renders.
 */
export function ZeroProvider<S extends Schema = DefaultSchema, MD extends AnyMutators | undefined = any, C = DefaultContext>(
  props: ZeroProviderProps<S, MD, C>,
): ReactElement | null {
  const {children, ...rest} = props;
  const given = 'zero' in rest ? rest.zero : undefined;
  const made = useMadeZero(rest as MadeZeroOptions, given === undefined);
  const zero = given ?? made;
  return zero === undefined ? null : createElement(ZeroContext.Provider, {value: zero as AnyZero}, children);
}

type MadeZeroOptions = ZeroOptions<any, any, any> & {init?: (zero: AnyZero) => void; zero?: undefined};

/** The instance for some options: made, replaced and closed in effects. */
function useMadeZero({init, auth, zero: _, ...rest}: MadeZeroOptions, wanted: boolean): AnyZero | undefined {
  const options = useShallowStable(rest);
  const [zero, setZero] = useState<AnyZero>();
  const latestAuth = useRef(auth);
  const usedAuth = useRef(auth);
  latestAuth.current = auth;
  const hasAuth = typeof auth === 'string';

  useEffect(() => {
    if (!wanted) {
      return;
    }
    usedAuth.current = latestAuth.current;
    const made: AnyZero = new Zero({...options, auth: latestAuth.current});
    init?.(made);
    setZero(made);
    return () => {
      void made.close();
      setZero(current => (current === made ? undefined : current));
    };
  }, [wanted, options, init, hasAuth]);

  useEffect(() => {
    // A new token for the same instance; the first one went in with the options.
    if (zero !== undefined && typeof auth === 'string' && auth !== usedAuth.current) {
      usedAuth.current = auth;
      void zero.connection.connect({auth});
    }
  }, [zero, auth]);

  return zero;
}

/** The same object as long as its members are the same. */
function useShallowStable<T extends object>(value: T): T {
  const [stable, setStable] = useState(value);
  if (sameMembers(stable, value)) {
    return stable;
  }
  setStable(value);
  return value;
}

function sameMembers(a: object, b: object): boolean {
  const names = new Set([...Object.keys(a), ...Object.keys(b)]);
  return [...names].every(name => Object.is((a as {[k: string]: unknown})[name], (b as {[k: string]: unknown})[name]));
}
