import {createComponent, createEffect, createMemo, type JSX, onCleanup, splitProps, untrack} from 'solid-js';
import type {DefaultContext, DefaultSchema} from '../default-types.js';
import type {AnyMutators} from '../mutate/legacy-mutators.js';
import type {Schema} from '../schema/schema.js';
import type {ZeroOptions} from '../zero-options.js';
import type {Zero} from '../zero.js';
import {type AnyZero, createZero, ZeroContext} from './use-zero.js';

/** What `ZeroProvider` takes: the options of an instance that it makes and closes, or an instance of yours. */
export type ZeroProviderProps<S extends Schema = DefaultSchema, MD extends AnyMutators | undefined = any, C = DefaultContext> = {
  readonly children?: JSX.Element;
  /** Called with each instance that the provider makes. */
  readonly init?: ((zero: Zero<S, MD, C>) => void) | undefined;
} & (ZeroOptions<S, MD, C> | {readonly zero: Zero<S, MD, C>});

/**
 * Makes a Zero instance for the components inside, and closes it when it goes.
 *
 * A change of any option but `auth` makes a new instance; a new token goes to the one that there is.
 */
export function ZeroProvider<S extends Schema = DefaultSchema, MD extends AnyMutators | undefined = any, C = DefaultContext>(
  props: ZeroProviderProps<S, MD, C>,
): JSX.Element {
  const [own, options] = splitProps(props as OwnProps, ['children', 'auth', 'init']);
  const hasAuth = createMemo(() => typeof own.auth === 'string');
  let usedAuth: string | null | undefined;

  const zero = createMemo((): AnyZero => {
    if (options.zero !== undefined) {
      return options.zero;
    }
    // A token that comes or goes is another user; see below for one that follows another.
    hasAuth();
    const {init} = own;
    usedAuth = untrack(() => own.auth);
    const made: AnyZero = createZero({...options, auth: usedAuth} as never);
    onCleanup(() => void made.close());
    untrack(() => init?.(made));
    return made;
  });

  createEffect(() => {
    const {auth} = own;
    const current = zero();
    if (options.zero === undefined && typeof auth === 'string' && auth !== usedAuth) {
      usedAuth = auth;
      void current.connection.connect({auth});
    }
  });

  return createComponent(ZeroContext.Provider, {
    value: zero,
    get children() {
      return own.children;
    },
  });
}

interface OwnProps {
  readonly children?: JSX.Element;
  readonly auth?: string | null | undefined;
  readonly init?: ((zero: AnyZero) => void) | undefined;
  readonly zero?: AnyZero | undefined;
}
