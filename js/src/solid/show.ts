/**
 * An answer in a store of Solid: rows that stay are the same objects of the store, and only what changed in them is set.
 *
 * The published answers are frozen and shared, which a store cannot have; it holds copies.
 */
import {$RAW, unwrap} from 'solid-js/store';
import type {Snapshot} from '../core/view-tree.js';
import {equal, type Item, itemsOf, keyOf, type Level, sameEnds} from '../view-changes.js';

/** An entry as the store holds it. */
export type Entry = {[name: string]: unknown};

/** Whether answers of two queries can follow each other in place. */
export function isSameShape(a: Level, b: Level): boolean {
  return (
    a === b ||
    (a.singular === b.singular &&
      a.schema.tableName === b.schema.tableName &&
      a.relationships.length === b.relationships.length &&
      a.relationships.every(([name, inner], i) => {
        const [otherName, other] = b.relationships[i]!;
        return name === otherName && isSameShape(inner, other);
      }))
  );
}

/** Shows an answer under a name in a draft of the store, whatever stood there. */
export function replace(level: Level, draft: Entry, name: string, state: Snapshot): void {
  draft[name] = bare(shown(level, state));
}

function shown(level: Level, state: Snapshot): Entry | Entry[] | undefined {
  const entries = itemsOf(state).map(item => entryOf(level, item));
  return level.singular ? entries[0] : entries;
}

/** Changes what stands under a name in a draft of the store from one answer to another one of the same shape. */
export function update(level: Level, draft: Entry, name: string, before: Snapshot, after: Snapshot): void {
  if (before === after) {
    return;
  }
  const olds = itemsOf(before);
  const news = itemsOf(after);
  const [old, item] = [olds[0], news[0]];
  if (!level.singular) {
    updateList(level, draft, name, olds, news);
  } else if (old !== undefined && item !== undefined && keyOf(level, old) === keyOf(level, item)) {
    updateEntry(level, draft[name] as Entry, old, item);
  } else {
    draft[name] = bare(item === undefined ? undefined : entryOf(level, item));
  }
}

function updateList(level: Level, draft: Entry, name: string, olds: readonly Item[], news: readonly Item[]): void {
  const list = draft[name] as Entry[];
  const {start, end} = sameEnds(olds, news);
  const places = new Map<string, number>();
  for (let i = start; i < olds.length - end; i++) {
    places.set(keyOf(level, olds[i]!), i);
  }
  const all = unwrap(list);
  let isSame = olds.length === news.length;
  const middle = news.slice(start, news.length - end).map((item, i) => {
    const place = places.get(keyOf(level, item));
    isSame &&= place === start + i;
    if (place === undefined) {
      return entryOf(level, item);
    }
    if (olds[place] !== item) {
      updateEntry(level, list[place]!, olds[place]!, item);
    }
    return all[place]!;
  });
  if (!isSame) {
    draft[name] = bare([...all.slice(0, start), ...middle, ...all.slice(olds.length - end)]);
  }
}

function updateEntry(level: Level, draft: Entry, before: Item, after: Item): void {
  for (const [column, isJSON] of level.columns) {
    if (!equal(before[column], after[column])) {
      draft[column] = isJSON ? thawed(after[column]) : after[column];
    }
  }
  for (const [name, inner] of level.relationships) {
    update(inner, draft, name, before[name] as Snapshot, after[name] as Snapshot);
  }
}

function entryOf(level: Level, item: Item): Entry {
  const entry: Entry = {};
  for (const [column, isJSON] of level.columns) {
    entry[column] = isJSON ? thawed(item[column]) : item[column];
  }
  for (const [name, inner] of level.relationships) {
    entry[name] = shown(inner, item[name] as Snapshot);
  }
  return entry;
}

// A store goes through all that it is given, to the last value, in search of its own proxies; here are none.
function bare(value: Entry | Entry[] | undefined): unknown {
  return value === undefined ? undefined : {[$RAW]: value};
}

// `structuredClone` takes twice as long for the small values that columns hold.
function thawed(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) {
    return value;
  }
  return Array.isArray(value)
    ? value.map(thawed)
    : Object.fromEntries(Object.entries(value).map(([name, member]) => [name, thawed(member)]));
}
