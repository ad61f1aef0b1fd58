/**
 * The deprecated ways to write: mutators as a tree of plain functions, and `zero.mutate.<table>` for schemas that enable it.
 * Both become named mutators, so that everything else knows one kind.
 */
import type {ReadonlyJSONObject, ReadonlyJSONValue} from '../json.js';
import type {Schema} from '../schema/schema.js';
import {type CRUDOp, makeCRUD, type SchemaCRUD} from './crud.js';
import {type AnyMutator, type AnyMutatorRegistry, type CallMutator, getMutator, isMutatorRegistry} from './mutator-registry.js';
import type {MutatorResult} from './mutator-result.js';
import type {Transaction} from './transaction.js';

/** Plain mutator functions in a tree; at most one level of namespaces in practice. */
export interface CustomMutatorDefs {
  readonly [name: string]: AnyCustomMutator | CustomMutatorDefs;
}

/** Any plain mutator function. */
export type AnyCustomMutator = (tx: any, args: any, ctx: any) => Promise<void>;

/** A plain mutator function. */
export type CustomMutatorImpl<S extends Schema, TWrapped = unknown, TArgs = any, TContext = unknown> = (
  tx: Transaction<S, TWrapped>,
  args: TArgs,
  ctx: TContext,
) => Promise<void>;

/** What a client takes as its mutators. */
export type AnyMutators = AnyMutatorRegistry | CustomMutatorDefs;

/** A function of a tree as `zero.mutate` shows it: called with the arguments alone. */
export type MakeCustomMutatorInterface<S extends Schema, F> = F extends (tx: any, ...rest: infer Rest) => Promise<void>
  ? (...args: Rest extends readonly [] ? [] : undefined extends Rest[0] ? [args?: Rest[0]] : [args: Rest[0]]) => MutatorResult
  : MakeCustomMutatorInterfaces<S, F>;

/** A tree of plain mutator functions as `zero.mutate` shows it. */
export type MakeCustomMutatorInterfaces<S extends Schema, MD, _TContext = unknown> = {
  readonly [K in keyof MD]: MakeCustomMutatorInterface<S, MD[K]>;
};

/** The type of `zero.mutate`. A registry's mutators are called through it; only functions of a tree are its members. */
export type ZeroMutate<S extends Schema, MD extends AnyMutators | undefined, TContext> = CallMutator<TContext> &
  DBMutator<S> &
  (MD extends {readonly '~': unknown} | undefined ? unknown : MakeCustomMutatorInterfaces<S, MD, TContext>);

/** The writes of all tables, as `zero.mutate` has them if the schema enables legacy mutators. */
export type DBMutator<S extends Schema> = S extends {readonly enableLegacyMutators: true} ? SchemaCRUD<S> : unknown;

/** Runs several writes as one mutation. */
export type BatchMutator<S extends Schema> = S extends {readonly enableLegacyMutators: true}
  ? <R>(write: (mutate: SchemaCRUD<S>) => Promise<R> | R) => Promise<R>
  : undefined;

/** The name of the mutation that carries plain writes; `crates/client` sends it as them. */
const crudName = '_zero_crud';

/** The mutators that a client may run, by name. */
export interface KnownMutators {
  find(name: string): AnyMutator | undefined;
  /** Whether this very mutator may run; another one of the same name may not. */
  has(mutator: AnyMutator): boolean;
}

/** The mutators of a registry or of a tree of functions. */
export function knownMutators(given: AnyMutators | undefined): KnownMutators {
  const legacy = given === undefined || isMutatorRegistry(given) ? undefined : functionsOf(given as CustomMutatorDefs);
  const find = (name: string) => {
    if (name === crudName) {
      return crudMutator;
    }
    return legacy?.get(name) ?? (isMutatorRegistry(given) ? getMutator(given, name) : undefined);
  };
  return {find, has: mutator => find(mutator.mutatorName) === mutator};
}

type Call = (mutator: AnyMutator, args: ReadonlyJSONValue | undefined) => MutatorResult;

/** `mutate` with what it has besides being a function. */
export function withLegacyMembers(
  mutate: object,
  schema: Schema,
  mutators: AnyMutators | undefined,
  known: KnownMutators,
  call: Call,
): object {
  const members: {[name: string]: unknown} = {};
  if (mutators !== undefined && !isMutatorRegistry(mutators)) {
    Object.assign(members, interfaceOf(mutators as CustomMutatorDefs, [], known, call));
  }
  if (schema.enableLegacyMutators === true) {
    const crud = makeCRUD(schema, op => written(call(crudMutator, {ops: [op] as unknown as ReadonlyJSONValue[]})));
    for (const table of Object.keys(schema.tables)) {
      members[table] = {...(members[table] as object | undefined), ...(crud as {[table: string]: object})[table]};
    }
  }
  for (const [name, value] of Object.entries(members)) {
    // Assigned, a table called `name` would meet the function's own.
    Object.defineProperty(mutate, name, {value, enumerable: true, configurable: true});
  }
  return mutate;
}

/** Runs `write` and carries out what it asked for as one mutation. */
export async function batch<R>(schema: Schema, call: Call, write: (mutate: any) => Promise<R> | R): Promise<R> {
  const ops: CRUDOp[] = [];
  const result = await write(makeCRUD(schema, async op => void ops.push(op)));
  await written(call(crudMutator, {ops: ops as unknown as ReadonlyJSONValue[]}));
  return result;
}

async function written({client}: MutatorResult): Promise<void> {
  const details = await client;
  if (details.type === 'error') {
    throw new Error(details.error.message);
  }
}

const crudMutator: AnyMutator = namedMutator(crudName, async (tx, {ops}: {ops: readonly CRUDOp[]}) => {
  for (const {op, table, value} of ops) {
    await (tx.mutate as {[table: string]: {[op: string]: (value: ReadonlyJSONObject) => Promise<void>}})[table]![op]!(value);
  }
});

function namedMutator(name: string, run: AnyCustomMutator): AnyMutator {
  const fn = ({tx, args, ctx}: {tx: unknown; args?: unknown; ctx?: unknown}) => {
    try {
      return Promise.resolve(run(tx, args, ctx));
    } catch (error) {
      return Promise.reject(error);
    }
  };
  return Object.freeze({'~': 'Mutator', mutatorName: name, fn}) as unknown as AnyMutator;
}

// On the wire a name is its path, joined by bars.
function functionsOf(tree: CustomMutatorDefs, path: readonly string[] = []): Map<string, AnyMutator> {
  const found = new Map<string, AnyMutator>();
  for (const [key, entry] of Object.entries(tree)) {
    if (/[.|]/.test(key)) {
      throw new TypeError(`A mutator's name must not contain "." or "|": ${key}`);
    }
    const here = [...path, key];
    if (typeof entry === 'function') {
      found.set(here.join('|'), namedMutator(here.join('|'), entry));
    } else {
      functionsOf(entry, here).forEach((mutator, name) => found.set(name, mutator));
    }
  }
  return found;
}

function interfaceOf(tree: CustomMutatorDefs, path: readonly string[], known: KnownMutators, call: Call): object {
  return Object.fromEntries(
    Object.entries(tree).map(([key, entry]) => {
      const here = [...path, key];
      return [
        key,
        typeof entry === 'function'
          ? (args?: ReadonlyJSONValue) => call(known.find(here.join('|'))!, args)
          : interfaceOf(entry, here, known, call),
      ];
    }),
  );
}
