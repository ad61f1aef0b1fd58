/**
 * The tree of one view: takes the operations of a flush and publishes immutable snapshots.
 * What did not change keeps its identity: rows, entries with their relationships, lists.
 */
import {LandfallError} from '../landfall-error.js';
import type {AST, CorrelatedSubquery} from '../query/ast.js';
import type {Format} from '../query/internals.js';
import type {Row} from './row-batch.js';

/** How a list is shown, and the relationships of its entries in the order in which operations number them. */
export interface ListShape {
  readonly singular: boolean;
  readonly relationships: readonly {readonly name: string; readonly list: ListShape}[];
}

/** The relationships of a query's answer: of two with one name the last one counts. */
export function shownRelated({related = []}: AST): readonly CorrelatedSubquery[] {
  const nameOf = ({subquery}: CorrelatedSubquery) => subquery.alias;
  return related.filter((entry, n) => !related.slice(n + 1).some(later => nameOf(later) === nameOf(entry)));
}

/** The shape of a query's answer. */
export function shapeOf(ast: AST, format: Format): ListShape {
  const relationships = shownRelated(ast).map(related => {
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
  readonly #end: number;
  #position: number;

  /** Reads `count` words from `start` on. */
  constructor(words: Uint32Array, start = 0, count = words.length) {
    this.#words = words;
    this.#position = start;
    this.#end = start + count;
  }

  get done(): boolean {
    return this.#position >= this.#end;
  }

  next(): number {
    if (this.#position >= this.#end) {
      throw outOfOperands();
    }
    return this.#words[this.#position++]!;
  }

  /** Puts what `of` makes of the next operands into a list. */
  map<T>(count: number, of: (operand: number) => T): T[] {
    const words = this.#words;
    const start = this.#position;
    if (start + count > this.#end) {
      throw outOfOperands();
    }
    this.#position += count;
    const list = new Array<T>(count);
    for (let i = 0; i < count; i++) {
      list[i] = of(words[start + i]!);
    }
    return list;
  }
}

function outOfOperands(): RangeError {
  return new RangeError('A flush ends in the middle of an operation.');
}

/** The lists of one view. */
export class ViewTree {
  readonly #shape: ListShape;
  #root: EntryList;

  constructor(shape: ListShape) {
    this.#shape = shape;
    this.#root = new EntryList(shape);
  }

  /** Replaces everything; entries that show what they showed before stay the same objects. */
  replaceAll(operands: Operands, rowOf: RowOf): void {
    this.#root = readList(this.#shape, operands, rowOf).keeping(this.#root);
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

  /**
   * The present state; the same object until something changed.
   * Throws a {@link LandfallError} of the code `query` if there are several rows where the query says there is one.
   */
  publish(): Snapshot {
    return this.#root.publish('', true);
  }

  /** The present state for one who asks once: the lists are theirs, and may be sorted in place. The tree ends with it. */
  giveAway(): Snapshot {
    return this.#root.publish('', false);
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
  if (shape.relationships.length === 0) {
    return new EntryList(shape, operands.map<Item>(count, rowOf));
  }
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

// With more than this many changed entries a list is published from its beginning to its end.
const fewChanges = 32;

class EntryList {
  readonly shape: ListShape;
  #items: Item[];
  // What is published, in step with the items. Nobody else has this list: a copy is published, which is frozen, for all who
  // show the query have the same one. To copy it costs what it would cost to copy it before a change; to change one that
  // was frozen itself would cost twenty times as much.
  #objects: object[];
  #published: readonly object[] | undefined;
  // Positions of entries that have changed since they were published, or `undefined` for all.
  #stale: number[] | undefined;

  constructor(shape: ListShape, items: Item[] = []) {
    this.shape = shape;
    this.#items = items;
    // Without relationships the rows are the items and what is published.
    this.#objects = items as object[];
    this.#stale = shape.relationships.length === 0 ? [] : undefined;
  }

  insert(position: number, item: Item): void {
    if (position > this.#items.length) {
      throw new RangeError('A view operation inserts behind the end of the list.');
    }
    this.#published = undefined;
    this.#items.splice(position, 0, item);
    if (this.#objects !== this.#items) {
      this.#objects.splice(position, 0, item);
      this.#moveStale(position, 1);
    }
    this.#markStale(position);
  }

  remove(position: number): void {
    this.#at(position);
    this.#published = undefined;
    this.#items.splice(position, 1);
    if (this.#objects !== this.#items) {
      this.#objects.splice(position, 1);
      this.#stale = this.#stale?.filter(stale => stale !== position);
      this.#moveStale(position, -1);
    }
  }

  replace(position: number, row: Row): void {
    const item = withRow(this.#at(position), row);
    this.#published = undefined;
    this.#items[position] = item;
    this.#markStale(position);
  }

  move(from: number, to: number, row: Row): void {
    const item = withRow(this.#at(from), row);
    this.remove(from);
    this.insert(to, item);
  }

  descend(position: number, relationship: number): EntryList {
    const entry = this.#at(position);
    const list = entry instanceof Entry ? entry.descend(relationship) : undefined;
    if (list === undefined) {
      throw new RangeError('A view operation descends into a relationship that the query does not have.');
    }
    this.#published = undefined;
    this.#markStale(position);
    return list;
  }

  /** What the application sees; `name` is the relationship's, for errors. */
  publish(name: string, isShared: boolean): Snapshot {
    if (this.shape.singular && this.#items.length > 1) {
      throw new LandfallError(
        'query',
        `Singular relationship '${name}' should not have multiple rows. You may need to declare this relationship with the \`many\` helper instead of the \`one\` helper in your schema.`,
      );
    }
    if (this.#published === undefined) {
      this.#publishEntries(isShared);
      // Of a singular list only the entry is seen.
      this.#published = isShared && !this.shape.singular ? Object.freeze(this.#objects.slice()) : this.#objects;
    }
    return this.shape.singular ? this.#published[0] : this.#published;
  }

  /** This list, with the entries of another one that show the same; the other list itself if all do. */
  keeping(old: EntryList): EntryList {
    const olds = old.#items;
    if (this.shape.relationships.length > 0) {
      const byRow = new Map((olds as Entry[]).map(entry => [entry.row, entry]));
      this.#items = (this.#items as Entry[]).map(entry => {
        const before = byRow.get(entry.row);
        return before === undefined ? entry : entry.keeping(before);
      });
    }
    const isSame = this.#items.length === olds.length && this.#items.every((item, i) => item === olds[i]);
    return isSame ? old : this;
  }

  #at(position: number): Item {
    const item = this.#items[position];
    if (item === undefined) {
      throw new RangeError('A view operation names a position that the list does not have.');
    }
    return item;
  }

  #publishEntries(isShared: boolean): void {
    if (this.#stale === undefined) {
      this.#objects = this.#items.map(item => published(item, isShared));
    } else {
      for (const position of this.#stale) {
        this.#objects[position] = published(this.#items[position]!, isShared);
      }
    }
    this.#stale = [];
  }

  #markStale(position: number): void {
    if (this.#objects === this.#items || this.#stale === undefined || this.#stale.includes(position)) {
      return;
    }
    this.#stale.push(position);
    if (this.#stale.length > fewChanges) {
      this.#stale = undefined;
    }
  }

  #moveStale(from: number, by: number): void {
    this.#stale = this.#stale?.map(position => (position >= from ? position + by : position));
  }
}

class Entry {
  readonly #shape: ListShape;
  readonly #lists: EntryList[];
  #row: Row;
  #published: object | undefined;

  constructor(shape: ListShape, row: Row, lists: EntryList[]) {
    this.#shape = shape;
    this.#row = row;
    this.#lists = lists;
  }

  get row(): Row {
    return this.#row;
  }

  showRow(row: Row): void {
    this.#row = row;
    this.#published = undefined;
  }

  descend(relationship: number): EntryList | undefined {
    this.#published = undefined;
    return this.#lists[relationship];
  }

  publish(isShared: boolean): object {
    this.#published ??= this.#build(isShared);
    return this.#published;
  }

  /** This entry, with the lists of another one of the same row that show the same; the other one if all do. */
  keeping(old: Entry): Entry {
    this.#lists.forEach((list, i) => {
      this.#lists[i] = list.keeping(old.#lists[i]!);
    });
    return this.#lists.every((list, i) => list === old.#lists[i]) ? old : this;
  }

  #build(isShared: boolean): object {
    const value: {[name: string]: unknown} = {...this.#row};
    this.#shape.relationships.forEach(({name}, i) => {
      value[name] = this.#lists[i]!.publish(name, isShared);
    });
    return Object.freeze(value);
  }
}

function published(item: Item, isShared: boolean): object {
  return item instanceof Entry ? item.publish(isShared) : item;
}

function withRow(item: Item, row: Row): Item {
  if (!(item instanceof Entry)) {
    return row;
  }
  item.showRow(row);
  return item;
}
