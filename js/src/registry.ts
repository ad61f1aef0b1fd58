/** Trees of named definitions: what the registries of queries and of mutators have in common. */

/** The member of a registry that says what it is; no entry may have this name. */
export const registryTag = '~';

/** A tag that carries types; at runtime it is the text alone. */
export type Tagged<TTag extends string, TTypes> = TTag & {readonly types: TTypes};

/** What a named query or mutator is called with. */
export type CallArgs<TInput> = undefined extends TInput ? [args?: TInput] : [args: TInput];

/** A tree of definitions: leaves and further trees. */
export type Tree<TLeaf> = {readonly [name: string]: TLeaf | Tree<TLeaf>};

/** The base with the overrides laid over it: leaves replace, trees merge. */
export type MergedTrees<TBase, TOverrides, TLeaf> = {
  readonly [K in keyof TBase | keyof TOverrides]: K extends keyof TOverrides
    ? K extends keyof TBase
      ? TBase[K] extends TLeaf
        ? TOverrides[K]
        : TOverrides[K] extends TLeaf
          ? TOverrides[K]
          : MergedTrees<TBase[K], TOverrides[K], TLeaf>
      : TOverrides[K]
    : K extends keyof TBase
      ? TBase[K]
      : never;
};

/** Builds the registry object of a tree: `makeEntry` for each leaf, with its dotted name. */
export function buildRegistry<TLeaf, TEntry>(
  tag: string,
  tree: Tree<TLeaf>,
  isLeaf: (node: unknown) => node is TLeaf,
  makeEntry: (name: string, leaf: TLeaf) => TEntry,
  path: readonly string[] = [],
): object {
  const registry: {[name: string]: unknown} = {[registryTag]: tag};
  for (const [name, node] of Object.entries(tree)) {
    if (name === registryTag) {
      continue;
    }
    const here = [...path, name];
    if (isLeaf(node)) {
      registry[name] = makeEntry(here.join('.'), node);
    } else if (isTree(node)) {
      registry[name] = buildRegistry(tag, node, isLeaf, makeEntry, here);
    } else {
      throw new TypeError(`"${here.join('.')}" is neither a definition nor an object of definitions.`);
    }
  }
  return Object.freeze(registry);
}

/** Lays one registry over another; what is not overridden stays the very entry that it was. */
export function mergeRegistries(base: object, overrides: object): object {
  const merged: {[name: string]: unknown} = {...base};
  for (const [name, node] of Object.entries(overrides)) {
    const below = Object.hasOwn(merged, name) ? merged[name] : undefined;
    merged[name] = isTree(below) && isTree(node) ? mergeRegistries(below, node) : node;
  }
  return Object.freeze(merged);
}

/** The entry at a path of names. */
export function entryAt(registry: object, path: readonly string[]): unknown {
  let node: unknown = registry;
  for (const name of path) {
    if (name === registryTag || !isTree(node) || !Object.hasOwn(node, name)) {
      return undefined;
    }
    node = node[name];
  }
  return node;
}

/** Whether a value carries a tag. */
export function hasTag(value: unknown, tag: string): boolean {
  const holds = (typeof value === 'object' && value !== null) || typeof value === 'function';
  return holds && (value as {readonly [registryTag]?: unknown})[registryTag] === tag;
}

function isTree(node: unknown): node is {readonly [name: string]: never} {
  return typeof node === 'object' && node !== null && !Array.isArray(node);
}
