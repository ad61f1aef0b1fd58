'use client';

import {type Context, createContext, useContext} from 'react';
import type {DefaultContext, DefaultSchema} from '../default-types.js';
import type {AnyMutators} from '../mutate/legacy-mutators.js';
import type {Schema} from '../schema/schema.js';
import type {Zero} from '../zero.js';

/** An instance of any schema. */
export type AnyZero = Zero<any, any, any>;

/** Holds the instance for the hooks. */
export const ZeroContext: Context<AnyZero | undefined> = createContext<AnyZero | undefined>(undefined);

/** The instance of the provider around the component. */
export function useZero<S extends Schema = DefaultSchema, MD extends AnyMutators | undefined = any, C = DefaultContext>(): Zero<S, MD, C> {
  const zero = useContext(ZeroContext);
  if (zero === undefined) {
    throw new Error('useZero must be used within a ZeroProvider');
  }
  return zero as Zero<S, MD, C>;
}

/** @deprecated `useZero` with its types bound; register the types with `DefaultTypes` instead. */
export function createUseZero<S extends Schema, MD extends AnyMutators | undefined = any, C = DefaultContext>(): () => Zero<S, MD, C> {
  return () => useZero<S, MD, C>();
}
