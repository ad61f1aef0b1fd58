import {type Accessor, batch, type Context, createContext, useContext} from 'solid-js';
import type {DefaultContext, DefaultSchema} from '../default-types.js';
import type {AnyMutators} from '../mutate/legacy-mutators.js';
import type {Schema} from '../schema/schema.js';
import type {ZeroOptions} from '../zero-options.js';
import {Zero} from '../zero.js';

/** An instance of any schema. */
export type AnyZero = Zero<any, any, any>;

/** Holds the instance for what is below a provider. */
export const ZeroContext: Context<Accessor<AnyZero> | undefined> = createContext<Accessor<AnyZero> | undefined>(undefined);

/** The instance of the provider around the component. */
export function useZero<
  S extends Schema = DefaultSchema,
  MD extends AnyMutators | undefined = any,
  C = DefaultContext,
>(): Accessor<Zero<S, MD, C>> {
  const zero = useContext(ZeroContext);
  if (zero === undefined) {
    throw new Error('useZero must be used within a ZeroProvider');
  }
  return zero as Accessor<Zero<S, MD, C>>;
}

/** @deprecated `useZero` with its types bound; register the types with `DefaultTypes` instead. */
export function createUseZero<
  S extends Schema,
  MD extends AnyMutators | undefined = any,
  C = DefaultContext,
>(): () => Accessor<Zero<S, MD, C>> {
  return () => useZero<S, MD, C>();
}

/** @deprecated Use `ZeroProvider`. An instance whose views change together; it is yours to close. */
export function createZero<
  S extends Schema = DefaultSchema,
  MD extends AnyMutators | undefined = undefined,
  C = DefaultContext,
>(options: ZeroOptions<S, MD, C>): Zero<S, MD, C> {
  return new Zero<S, MD, C>({...options, batchViewUpdates: batch});
}
