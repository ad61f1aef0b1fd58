/** Keeps a tree of entries current by the changes that an {@link Input} tells: for views that applications and bindings make. */
import type {Format} from './query/internals.js';
import type {Entry, EntryList, Node, NodeRow, SourceSchema, Stream} from './query/view-factory.js';

/** How many rows stand behind an entry: always one, as rows of junction tables are not told of. */
export const refCountSymbol: unique symbol = Symbol('rc');
/** The primary key of an entry as text, if it was asked for. */
export const idSymbol: unique symbol = Symbol('id');

/** A node whose related rows have been read already. */
export interface ExpandedNode {
  row: NodeRow;
  relationships: {[name: string]: ExpandedNode[] | (() => Stream<Node | 'yield'>)};
}

type ViewNode = Node | ExpandedNode;
type RowOnly = {row: NodeRow};

/** A change in words; of nodes that only changed, related rows are not looked at. */
export type ViewChange =
  | {type: 'add'; node: ViewNode}
  | {type: 'remove'; node: ViewNode}
  | {type: 'child'; node: RowOnly; child: {relationshipName: string; change: ViewChange}}
  | {type: 'edit'; node: RowOnly; oldNode: RowOnly};

/** What a change is made in: nothing but copies, everything in place, or in place what the set holds and what comes to it. */
type Mutable = boolean | WeakSet<object>;

type MutableEntry = {[name: string | symbol]: unknown};

/**
 * The entry with a change applied to the list, or the single entry, that it has under `relationship`.
 *
 * What did not change stays the same object. With `mutate` the tree is changed in place; with a set, objects that the
 * set holds are, and copies are put into it, so that many changes of one transaction copy once.
 */
export function applyChange(
  parentEntry: Entry,
  change: ViewChange,
  schema: SourceSchema,
  relationship: string,
  format: Format,
  withIDs = false,
  mutate: Mutable = false,
): Entry {
  return new Applying(withIDs, mutate).apply(parentEntry, change, schema, relationship, format);
}

class Applying {
  readonly #withIDs: boolean;
  readonly #mutable: Mutable;

  constructor(withIDs: boolean, mutable: Mutable) {
    this.#withIDs = withIDs;
    this.#mutable = mutable;
  }

  apply(parent: Entry, change: ViewChange, schema: SourceSchema, name: string, format: Format): Entry {
    const before = parent[name] as EntryList | Entry | undefined;
    const after = format.singular
      ? this.#single(before as Entry | undefined, change, schema, format, name)
      : this.#list(before as EntryList, change, schema, format);
    return after === before ? parent : this.#with(parent, name, after);
  }

  #single(entry: Entry | undefined, change: ViewChange, schema: SourceSchema, format: Format, name: string): Entry | undefined {
    if (change.type === 'add') {
      if (entry !== undefined && schema.compareRows(entry as NodeRow, change.node.row) !== 0) {
        throw new Error(
          `Singular relationship '${name}' should not have multiple rows. You may need to declare this relationship with the \`many\` helper instead of the \`one\` helper in your schema.`,
        );
      }
      return this.#entry(change.node, schema, format);
    }
    if (entry === undefined) {
      throw new Error('A change is of a row that is not there.');
    }
    return change.type === 'remove' ? undefined : this.#changed(entry, change, schema, format);
  }

  #list(list: EntryList, change: ViewChange, schema: SourceSchema, format: Format): EntryList {
    if (change.type === 'add') {
      const [at, isThere] = find(list, change.node.row, schema);
      return this.#spliced(list, at, isThere ? 1 : 0, this.#entry(change.node, schema, format));
    }
    const [at, isThere] = find(list, change.type === 'edit' ? change.oldNode.row : change.node.row, schema);
    const entry = list[at];
    if (!isThere || entry === undefined) {
      throw new Error('A change is of a row that is not there.');
    }
    if (change.type === 'remove') {
      return this.#spliced(list, at, 1);
    }
    const changed = this.#changed(entry, change, schema, format);
    if (change.type === 'child' || schema.compareRows(change.oldNode.row, change.node.row) === 0) {
      return changed === entry ? list : this.#spliced(list, at, 1, changed);
    }
    const rest = this.#spliced(list, at, 1);
    return this.#spliced(rest, find(rest, change.node.row, schema)[0], 0, changed);
  }

  #changed(entry: Entry, change: Extract<ViewChange, {type: 'child' | 'edit'}>, schema: SourceSchema, format: Format): Entry {
    if (change.type === 'child') {
      const {relationshipName: name, change: inner} = change.child;
      const innerFormat = format.relationships[name];
      const innerSchema = schema.relationships[name];
      return innerFormat === undefined || innerSchema === undefined
        ? entry
        : this.apply(entry, inner, innerSchema, name, innerFormat);
    }
    const changed = this.#own(entry, () => ({...entry})) as MutableEntry;
    return Object.assign(changed, change.node.row, this.#marks(change.node.row, schema)) as Entry;
  }

  #entry({row, relationships}: ViewNode, schema: SourceSchema, format: Format): Entry {
    const entry: MutableEntry = {...row, [refCountSymbol]: 1, ...this.#marks(row, schema)};
    this.#remember(entry);
    for (const [name, read] of Object.entries(relationships)) {
      const innerFormat = format.relationships[name];
      const innerSchema = schema.relationships[name];
      if (innerFormat !== undefined && innerSchema !== undefined) {
        const nodes = typeof read === 'function' ? [...skipYields(read())] : read;
        const entries = this.#remember(nodes.map(node => this.#entry(node, innerSchema, innerFormat)));
        entry[name] = innerFormat.singular ? entries[0] : entries;
      }
    }
    return entry as Entry;
  }

  #marks(row: NodeRow, {primaryKey}: SourceSchema): object {
    if (!this.#withIDs) {
      return {};
    }
    const [first, ...others] = primaryKey;
    return {[idSymbol]: JSON.stringify(others.length === 0 ? row[first] : primaryKey.map(column => row[column]))};
  }

  #with(entry: Entry, name: string, value: unknown): Entry {
    const own = this.#own(entry, () => ({...entry})) as MutableEntry;
    own[name] = value;
    return own as Entry;
  }

  #spliced(list: EntryList, at: number, gone: number, ...come: Entry[]): EntryList {
    const own = this.#own(list, () => list.slice()) as Entry[];
    own.splice(at, gone, ...come);
    return own;
  }

  #own<T extends object>(value: T, copy: () => T): T {
    const mutable = this.#mutable;
    const isMine = typeof mutable === 'boolean' ? mutable : mutable.has(value);
    return isMine ? value : this.#remember(copy());
  }

  #remember<T extends object>(value: T): T {
    if (typeof this.#mutable === 'object') {
      this.#mutable.add(value);
    }
    return value;
  }
}

/** Where a row stands in a list, or where it would. */
function find(list: EntryList, row: NodeRow, {compareRows}: SourceSchema): [at: number, isThere: boolean] {
  let low = 0;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const order = compareRows(list[middle] as NodeRow, row);
    if (order === 0) {
      return [middle, true];
    }
    if (order < 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return [low, false];
}

/** The nodes of a stream. */
export function* skipYields(stream: Stream<Node | 'yield'>): Stream<Node> {
  for (const node of stream) {
    if (node !== 'yield') {
      yield node;
    }
  }
}
