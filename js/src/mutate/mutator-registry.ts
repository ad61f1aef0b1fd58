import type {AcceptedContext, DefaultContext, DefaultSchema, DefaultWrappedTransaction} from '../default-types.js';
import type {Args} from '../json.js';
import {
  buildRegistry,
  type CallArgs,
  entryAt,
  hasTag,
  type MergedTrees,
  mergeRegistries,
  type registryTag,
  type Tagged,
  type Tree,
} from '../registry.js';
import type {Schema} from '../schema/schema.js';
import type {StandardSchemaV1} from '../standard-schema.js';
import type {Expand} from '../type-tools.js';
import {validateInput} from '../validate-input.js';
import type {MutatorResult} from './mutator-result.js';
import type {AnyTransaction, Transaction} from './transaction.js';


interface MutatorTypes<TInput, TOutput, TContext, TWrapped> {
  readonly input: TInput;
  readonly output: TOutput;
  readonly context: TContext;
  readonly wrappedTransaction: TWrapped;
}

/** What a mutator function is called with. */
export type MutatorFnOptions<TArgs, TContext, S extends Schema, TWrapped> = {
  readonly tx: Transaction<S, TWrapped>;
  readonly args: TArgs;
  readonly ctx: TContext;
};

/** What `fn` of a named mutator takes: `args` and `ctx` may be left out when they may be `undefined`. */
export type MutatorCallOptions<TInput, TContext> = Expand<
  {readonly tx: AnyTransaction} & (undefined extends TInput ? {readonly args?: TInput} : {readonly args: TInput}) &
    (undefined extends TContext ? {readonly ctx?: TContext} : {readonly ctx: TContext})
>;

/** A mutator function with its validator, as `defineMutator` makes it. */
export interface MutatorDefinition<
  TInput extends Args,
  TOutput extends Args,
  TContext = DefaultContext,
  TWrapped = DefaultWrappedTransaction,
> {
  readonly [registryTag]: Tagged<'MutatorDefinition', MutatorTypes<TInput, TOutput, TContext, TWrapped>>;
  readonly fn: (options: {readonly tx: AnyTransaction; readonly args: TOutput; readonly ctx: TContext}) => Promise<void>;
  readonly validator: StandardSchemaV1<TInput, TOutput> | undefined;
}

/** Any definition of a mutator. */
export type AnyMutatorDefinition = MutatorDefinition<any, any, any, any>;

/**
 * A tree of definitions, as `defineMutators` takes it.
 *
 * The leaf is described by its tag alone: a type with `any` in it would be inferred into the definitions written inside the call.
 */
export type MutatorDefinitions = Tree<{readonly [registryTag]: 'MutatorDefinition'}>;

/** `never` for what is not a tree of definitions. */
export type AssertMutatorDefinitions<T> = T extends MutatorDefinitions ? unknown : never;

/** The tree of definitions itself, and `never` for what is none. */
export type EnsureMutatorDefinitions<T> = T extends MutatorDefinitions ? T : never;

/** A named mutator: call it with arguments, and give the request to `zero.mutate`. */
export interface Mutator<
  TInput extends Args,
  S extends Schema = DefaultSchema,
  TContext = DefaultContext,
  TWrapped = DefaultWrappedTransaction,
> {
  (...args: CallArgs<TInput>): MutateRequest<TInput, S, TContext, TWrapped>;
  readonly [registryTag]: Tagged<'Mutator', MutatorTypes<TInput, unknown, TContext, TWrapped>>;
  /** The dotted path in the registry. */
  readonly mutatorName: string;
  /** Validates the arguments and runs the mutator in a transaction. */
  readonly fn: (options: MutatorCallOptions<TInput, TContext>) => Promise<void>;
}

/** Any named mutator. */
export type AnyMutator = Mutator<any, any, any, any>;

/** A named mutator with its arguments; nothing has run. */
export interface MutateRequest<
  TInput extends Args,
  S extends Schema = DefaultSchema,
  TContext = DefaultContext,
  TWrapped = DefaultWrappedTransaction,
> {
  readonly [registryTag]: Tagged<'MutateRequest', MutatorTypes<TInput, unknown, TContext, TWrapped>>;
  readonly mutator: Mutator<TInput, S, TContext, TWrapped>;
  readonly args: TInput;
}

/** Any request to run a mutator. */
export type AnyMutateRequest = MutateRequest<any, any, any, any>;

/** How `zero.mutate` is called. */
export interface CallMutator<TContext> {
  <TInput extends Args, TWrapped>(request: MutateRequest<TInput, any, AcceptedContext<TContext>, TWrapped>): MutatorResult;
}

/** The named mutators of a tree of definitions. */
export type ToMutatorTree<T, S extends Schema = DefaultSchema> = {
  readonly [K in Exclude<keyof T, typeof registryTag>]: T[K] extends {
    readonly [registryTag]: Tagged<
      'MutatorDefinition',
      MutatorTypes<infer TInput extends Args, any, infer TContext, infer TWrapped>
    >;
  }
    ? Mutator<TInput, S, TContext, TWrapped>
    : ToMutatorTree<T[K], S> & {readonly [registryTag]: 'MutatorRegistry'};
};

/** The named mutators of an application. */
export type MutatorRegistry<T, S extends Schema = DefaultSchema> = ToMutatorTree<T, S> & {
  readonly [registryTag]: Tagged<'MutatorRegistry', {readonly definitions: T}>;
};

/** Any registry of mutators. */
export type AnyMutatorRegistry = {readonly [registryTag]: 'MutatorRegistry'};

type DefinitionsOf<T> = T extends {
  readonly [registryTag]: Tagged<'MutatorRegistry', {readonly definitions: infer D}>;
}
  ? D
  : T;

/** `defineMutator` for one schema, context and database transaction. */
export interface DefineMutator<S0 extends Schema, C0, W0> {
  <TInput extends Args, TOutput extends Args, TContext = C0, S extends Schema = S0, TWrapped = W0>(
    validator: StandardSchemaV1<TInput, TOutput>,
    fn: (options: MutatorFnOptions<TOutput, TContext, S, TWrapped>) => Promise<void>,
  ): MutatorDefinition<TInput, TOutput, TContext, TWrapped>;
  <TInput extends Args = Args, TContext = C0, S extends Schema = S0, TWrapped = W0>(
    fn: (options: MutatorFnOptions<TInput, TContext, S, TWrapped>) => Promise<void>,
  ): MutatorDefinition<TInput, TInput, TContext, TWrapped>;
}

/** `defineMutators` makes a registry of definitions, or lays overrides over a base. */
export interface DefineMutators {
  <const T extends MutatorDefinitions>(definitions: T): MutatorRegistry<T>;
  <const TBase extends MutatorDefinitions | AnyMutatorRegistry, const TOverrides extends MutatorDefinitions>(
    base: TBase,
    overrides: TOverrides,
  ): MutatorRegistry<MergedTrees<DefinitionsOf<TBase>, TOverrides, {readonly [registryTag]: 'MutatorDefinition'}>>;
}

/**
 * Defines a mutator: a function that writes through a transaction, here at once and at the server for good.
 *
 * ```ts
 * const close = defineMutator(z.object({id: z.string()}), async ({tx, args}) => {
 *   await tx.mutate.issue.update({id: args.id, open: false});
 * });
 * ```
 */
export const defineMutator: DefineMutator<DefaultSchema, DefaultContext, DefaultWrappedTransaction> = ((
  ...args: unknown[]
): AnyMutatorDefinition => {
  const [validator, fn] = args.length === 1 ? [undefined, args[0]] : args;
  if (typeof fn !== 'function') {
    throw new TypeError('defineMutator needs an async function.');
  }
  return Object.freeze({'~': 'MutatorDefinition', fn, validator}) as unknown as AnyMutatorDefinition;
}) as never;

/**
 * Names mutators by their place in a tree: `defineMutators({issue: {close}})` names `issue.close`.
 *
 * With two arguments, the second is laid over the first.
 */
export const defineMutators: DefineMutators = ((base: object, overrides?: Tree<AnyMutatorDefinition>) => {
  const registryOf = (tree: object) =>
    buildRegistry('MutatorRegistry', tree as Tree<AnyMutatorDefinition>, isMutatorDefinition, mutator);
  const registry = isMutatorRegistry(base) ? base : registryOf(base);
  return overrides === undefined ? registry : mergeRegistries(registry, registryOf(overrides));
}) as never;

/** `defineMutator` with its types bound, for programs with several schemas. */
export function defineMutatorWithType<S extends Schema, C = unknown, W = unknown>(): DefineMutator<S, C, W> {
  return defineMutator as unknown as DefineMutator<S, C, W>;
}

/** `defineMutators` with its types bound, for programs with several schemas. */
export function defineMutatorsWithType<_S extends Schema, _C = unknown>(): DefineMutators {
  return defineMutators;
}

function mutator(name: string, source: AnyMutatorDefinition): AnyMutator {
  const {fn, validator} = source;
  // Not async: a promise around the application's would be waited for in vain.
  const run = ({tx, args, ctx}: {readonly tx: AnyTransaction; readonly args?: Args; readonly ctx?: unknown}) => {
    try {
      return Promise.resolve(fn({tx, args: validateInput('mutator', name, args, validator), ctx}));
    } catch (error) {
      return Promise.reject(error);
    }
  };
  const call = (args?: Args) => Object.freeze({'~': 'MutateRequest', mutator: call, args});
  const members = {'~': 'Mutator', mutatorName: name, fn: run};
  return Object.assign(call, members) as unknown as AnyMutator;
}

/** Whether a value is a named mutator. */
export function isMutator(value: unknown): value is AnyMutator {
  return hasTag(value, 'Mutator');
}

/** Whether a value is a definition of a mutator. */
export function isMutatorDefinition(value: unknown): value is AnyMutatorDefinition {
  return hasTag(value, 'MutatorDefinition');
}

/** Whether a value is a registry of mutators. */
export function isMutatorRegistry(value: unknown): value is AnyMutatorRegistry {
  return hasTag(value, 'MutatorRegistry');
}

/** The mutator of this name (`a.b`), if the registry has it. */
export function getMutator(registry: AnyMutatorRegistry, name: string): AnyMutator | undefined {
  const entry = entryAt(registry, name.split('.'));
  return isMutator(entry) ? entry : undefined;
}

/** The mutator of this name; throws if the registry lacks it. */
export function mustGetMutator(registry: AnyMutatorRegistry, name: string): AnyMutator {
  const found = getMutator(registry, name);
  if (found === undefined) {
    throw new Error(`Mutator not found: ${name}`);
  }
  return found;
}

/** The message for a mutator that is not in the client's registry. */
export function mutatorNotRegisteredMessage(name: string): string {
  return `Mutator "${name}" is not registered. Mutators must be registered with the Zero constructor before use.`;
}
