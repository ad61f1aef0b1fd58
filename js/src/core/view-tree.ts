/**
 * The tree of one view: takes the operations of a flush and publishes immutable snapshots.
 * What did not change keeps its identity: rows, entries with their relationships, lists.
 */
import type {AST} from '../query/ast.js';
import type {Format} from '../query/internals.js';
import type {Row} from './row-batch.js';

/** How a list is shown, and the relationships of its entries in the order in which operations number them. */
export interface ListShape {
  readonly singular: boolean;
  readonly relationships: readonly {readonly name: string; readonly list: ListShape}[];
}

/** The shape of a query's answer. */
export function shapeOf(ast: AST, format: Format): ListShape {
  const relationships = (ast.related ?? []).map(related => {
    const {subquery} = related;
    const name = subquery.alias ?? '';
    const inner = format.relationships[name];
    // Through a hidden junction the far rows stand in the list of the outer relationship.
    const far = related.hidden === true ? subquery.related?.[0]?.subquery : subquery;
    if (inner === undefined || far === undefined) {
      throw new TypeError(`The relationship "${name}" of a query has no format.`);
    }
    return {name, list: shapeOf(far, inner)};
  });
  return {singular: format.singular, relationships};
}

/** Looks up the object of a row handle. */
export type RowOf = (handle: number) => Row;

/** What a query's answer looks like to the application: a list, or one object or `undefined`. */
export type Snapshot = readonly object[] | object | undefined;

/** Reads one operand after another. */
export class Operands {
  readonly #words: Uint32Array;
  position = 0;

  constructor(words: Uint32Array) {
    this.#words = words;
  }

  get done(): boolean {
    return this.position >= this.#words.length;
  }

  next(): number {
    const word = this.#words[this.position++];
    if (word === undefined) {
      throw new RangeError('A flush ends in the middle of an operation.');
    }
    return word;
  }
}

/** The lists of one view. */
export class ViewTree {
  readonly #shape: ListShape;
  #root: EntryList;

  constructor(shape: ListShape) {
    this.#shape = shape;
    this.#root = new EntryList(shape);
  }

  /** Replaces everything. */
  replaceAll(operands: Operands, rowOf: RowOf): void {
    this.#root = readList(this.#shape, operands, rowOf);
  }

  insert(operands: Operands, rowOf: RowOf): void {
    const list = this.#find(operands);
    const position = operands.next();
    list.insert(position, readEntry(list.shape, operands, rowOf));
  }

  remove(operands: Operands): void {
    const list = this.#find(operands);
    list.remove(operands.next());
  }

  replace(operands: Operands, rowOf: RowOf): void {
    const list = this.#find(operands);
    const position = operands.next();
    list.replace(position, rowOf(operands.next()));
  }

  move(operands: Operands, rowOf: RowOf): void {
    const list = this.#find(operands);
    const from = operands.next();
    const to = operands.next();
    list.move(from, to, rowOf(operands.next()));
  }

  /** The present state; the same object until something changed. */
  publish(): Snapshot {
    return this.#root.publish();
  }

  // The list that a path names. Everything on the way is about to change.
  #find(operands: Operands): EntryList {
    let list = this.#root;
    for (let depth = operands.next(); depth > 0; depth--) {
      const position = operands.next();
      list = list.descend(position, operands.next());
    }
    return list;
  }
}

// Without relationships an entry is the row object itself, shared by all views.
type Item = Row | Entry;

function readList(shape: ListShape, operands: Operands, rowOf: RowOf): EntryList {
  const count = operands.next();
  const items = new Array<Item>(count);
  for (let i = 0; i < count; i++) {
    items[i] = readEntry(shape, operands, rowOf);
  }
  return new EntryList(shape, items);
}

function readEntry(shape: ListShape, operands: Operands, rowOf: RowOf): Item {
  const row = rowOf(operands.next());
  if (shape.relationships.length === 0) {
    return row;
  }
  return new Entry(shape, row, shape.relationships.map(({list}) => readList(list, operands, rowOf)));
}

class EntryList {
  readonly shape: ListShape;
  #items: Item[];
  // Published lists are never touched again: the first change after publishing copies.
  #published: readonly object[] | undefined;

  constructor(shape: ListShape, items: Item[] = []) {
    this.shape = shape;
    this.#items = items;
  }

  insert(position: number, item: Item): void {
    if (position > this.#items.length) {
      throw new RangeError('A view operation inserts behind the end of the list.');
    }
    this.#change().splice(position, 0, item);
  }

  remove(position: number): void {
    this.#at(position);
    this.#change().splice(position, 1);
  }

  replace(position: number, row: Row): void {
    this.#change()[position] = withRow(this.#at(position), row);
  }

  move(from: number, to: number, row: Row): void {
    const item = withRow(this.#at(from), row);
    const items = this.#change();
    items.splice(from, 1);
    items.splice(to, 0, item);
  }

  descend(position: number, relationship: number): EntryList {
    const entry = this.#at(position);
    const list = entry instanceof Entry ? entry.descend(relationship) : undefined;
    if (list === undefined) {
      throw new RangeError('A view operation descends into a relationship that the query does not have.');
    }
    this.#change();
    return list;
  }

  publish(): Snapshot {
    if (this.#published === undefined) {
      const plain = this.shape.relationships.length === 0;
      this.#published = plain ? this.#items : this.#items.map(entry => (entry as Entry).publish());
    }
    return this.shape.singular ? this.#published[0] : this.#published;
  }

  #at(position: number): Item {
    const item = this.#items[position];
    if (item === undefined) {
      throw new RangeError('A view operation names a position that the list does not have.');
    }
    return item;
  }

  #change(): Item[] {
    if (this.#published === this.#items) {
      this.#items = this.#items.slice();
    }
    this.#published = undefined;
    return this.#items;
  }
}

class Entry {
  readonly #shape: ListShape;
  readonly #lists: readonly EntryList[];
  #row: Row;
  #published: object | undefined;

  constructor(shape: ListShape, row: Row, lists: readonly EntryList[]) {
    this.#shape = shape;
    this.#row = row;
    this.#lists = lists;
  }

  showRow(row: Row): void {
    this.#row = row;
    this.#published = undefined;
  }

  descend(relationship: number): EntryList | undefined {
    this.#published = undefined;
    return this.#lists[relationship];
  }

  publish(): object {
    this.#published ??= this.#build();
    return this.#published;
  }

  #build(): object {
    const value: {[name: string]: unknown} = {...this.#row};
    this.#shape.relationships.forEach(({name}, i) => {
      value[name] = this.#lists[i]!.publish();
    });
    return Object.freeze(value);
  }
}

function withRow(item: Item, row: Row): Item {
  if (!(item instanceof Entry)) {
    return row;
  }
  item.showRow(row);
  return item;
}
