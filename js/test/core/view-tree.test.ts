import {describe, expect, test} from 'vitest';
import {applyOperations, type Target} from '../../src/core/flush.js';
import type {Row} from '../../src/core/row-batch.js';
import {LandfallError} from '../../src/landfall-error.js';
import {type ListShape, Operands, shapeOf, type Snapshot, ViewTree} from '../../src/core/view-tree.js';

const leaf: ListShape = {singular: false, relationships: []};
const nested: ListShape = {
  singular: false,
  relationships: [
    {name: 'comments', list: {singular: false, relationships: [{name: 'author', list: {...leaf, singular: true}}]}},
    {name: 'labels', list: leaf},
  ],
};

const rows = new Map<number, Row>();
function rowOf(handle: number): Row {
  const row = rows.get(handle) ?? Object.freeze({id: handle});
  rows.set(handle, row);
  return row;
}

function view(shape: ListShape): {target: Target & {tree: ViewTree}; apply(...words: number[]): Snapshot} {
  const target = {tree: new ViewTree(shape), status: 'unknown'} as Target & {tree: ViewTree};
  return {
    target,
    apply: (...words) => {
      applyOperations(new Operands(Uint32Array.from(words)), rowOf, () => target);
      return target.tree.publish();
    },
  };
}

const ids = (list: Snapshot) => (list as readonly {id: number}[]).map(({id}) => id);

describe('a list without relationships', () => {
  test('shows the row objects themselves', () => {
    const {apply} = view(leaf);
    const list = apply(1, 0, 4, 3, 10, 11, 12) as readonly object[];
    expect(ids(list)).toEqual([10, 11, 12]);
    expect(list[1]).toBe(rowOf(11));
  });

  test.each([
    ['insert', [2, 0, 0, 1, 20], [10, 20, 11, 12]],
    ['insert at the end', [2, 0, 0, 3, 20], [10, 11, 12, 20]],
    ['remove', [3, 0, 0, 0], [11, 12]],
    ['replace', [4, 0, 0, 2, 21], [10, 11, 21]],
    ['move down', [5, 0, 0, 0, 2, 22], [11, 12, 22]],
    ['move up', [5, 0, 0, 2, 0, 12], [12, 10, 11]],
    ['several, each on what the one before left', [3, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 1, 30], [12, 30]],
  ])('%s', (_, words, expected) => {
    const {apply} = view(leaf);
    const before = apply(1, 0, 4, 3, 10, 11, 12);
    expect(ids(apply(...words))).toEqual(expected);
    expect(ids(before)).toEqual([10, 11, 12]);
  });

  test('keeps its identity when nothing changed', () => {
    const {apply} = view(leaf);
    const list = apply(1, 0, 3, 2, 10, 11);
    expect(apply()).toBe(list);
    expect(apply(6, 0, 1)).toBe(list);
  });

  test('is frozen, can be copied and sorted, and goes on as it was', () => {
    const {apply} = view(leaf);
    const list = apply(1, 0, 4, 3, 10, 11, 12) as {id: number}[];
    for (const change of [() => list.pop(), () => list.sort(), () => list.reverse(), () => (list[0] = rowOf(1) as never)]) {
      expect(change).toThrow(TypeError);
    }
    expect(ids([...list].sort((a, b) => b.id - a.id))).toEqual([12, 11, 10]);
    expect(ids(apply(2, 0, 0, 3, 20))).toEqual([10, 11, 12, 20]);
  });

  test('that is given away belongs to whoever has it', () => {
    const {target} = view(leaf);
    applyOperations(new Operands(Uint32Array.of(1, 0, 3, 2, 10, 11)), rowOf, () => target);
    expect(ids((target.tree.giveAway() as object[]).reverse())).toEqual([11, 10]);
  });

  test('shows the first row or undefined when it is singular', () => {
    const {apply} = view({...leaf, singular: true});
    expect(apply()).toBeUndefined();
    expect(apply(1, 0, 2, 1, 10)).toBe(rowOf(10));
    expect(apply(3, 0, 0, 0)).toBeUndefined();
  });

  test('takes the status', () => {
    const {target, apply} = view(leaf);
    apply(6, 0, 1);
    expect(target.status).toBe('complete');
    apply(6, 0, 2);
    expect(target.status).toBe('error');
  });
});

describe('a list with relationships', () => {
  // Issue 1 with comments 5 (author 7) and 6 (no author), label 8; issue 2 with nothing.
  const snapshot = [1, 0, 12, 2, 1, 2, 5, 1, 7, 6, 0, 1, 8, 2, 0, 0];

  test('shows entries with their lists', () => {
    expect(view(nested).apply(...snapshot)).toEqual([
      {id: 1, comments: [{id: 5, author: {id: 7}}, {id: 6, author: undefined}], labels: [{id: 8}]},
      {id: 2, comments: [], labels: []},
    ]);
  });

  test('copies the path of a change and keeps everything else', () => {
    const {apply} = view(nested);
    const before = apply(...snapshot) as any[];
    const after = apply(2, 0, 2, 0, 0, 1, 0, 0, 9) as any[]; // an author for comment 6
    expect(after[0].comments[1].author).toBe(rowOf(9));
    expect(after).not.toBe(before);
    expect(after[0].comments).not.toBe(before[0].comments);
    expect(after[0].comments[0]).toBe(before[0].comments[0]);
    expect(after[0].labels).toBe(before[0].labels);
    expect(after[1]).toBe(before[1]);
    expect(before[0].comments[1].author).toBeUndefined();
  });

  test('keeps the lists of an entry whose row is replaced or moved', () => {
    const {apply} = view(nested);
    const before = apply(...snapshot) as any[];
    const replaced = apply(4, 0, 0, 0, 3) as any[];
    expect(replaced[0].id).toBe(3);
    expect(replaced[0].comments).toBe(before[0].comments);
    const moved = apply(5, 0, 0, 0, 1, 4) as any[];
    expect(ids(moved)).toEqual([2, 4]);
    expect(moved[1].comments).toBe(before[0].comments);
  });

  test('a new snapshot keeps what shows the same', () => {
    const {apply} = view(nested);
    const before = apply(...snapshot) as any[];
    expect(apply(...snapshot)).toBe(before);
    // Label 9 in place of 8, and issue 3 in front.
    const after = apply(1, 0, 15, 3, 3, 0, 0, 1, 2, 5, 1, 7, 6, 0, 1, 9, 2, 0, 0) as any[];
    expect(ids(after)).toEqual([3, 1, 2]);
    expect(after[1].comments).toBe(before[0].comments);
    expect(after[1].labels).toEqual([{id: 9}]);
    expect(after[2]).toBe(before[1]);
  });

  test('several rows where one is said to be are an error until they are gone', () => {
    const {apply} = view(nested);
    apply(...snapshot);
    const error = "Singular relationship 'author' should not have multiple rows";
    expect(() => apply(2, 0, 2, 0, 0, 0, 0, 1, 9)).toThrow(error);
    expect(() => apply()).toThrow(LandfallError);
    const after = apply(3, 0, 2, 0, 0, 0, 0, 0) as any[];
    expect(after[0].comments[0].author).toBe(rowOf(9));
  });

  test('freezes its entries and their lists', () => {
    const [entry] = view(nested).apply(...snapshot) as any[];
    expect(Object.isFrozen(entry)).toBe(true);
    expect(Object.isFrozen(entry.comments)).toBe(true);
  });
});

describe('operations that do not fit', () => {
  test.each([
    ['an unknown operation', [9, 0], leaf],
    ['an end in the middle', [2, 0, 0], leaf],
    ['a position that is not there', [3, 0, 0, 5], leaf],
    ['an insert behind the end', [2, 0, 0, 5, 1], leaf],
    ['a path into a row', [2, 0, 1, 0, 0, 0, 1], leaf],
    ['a relationship that is not there', [2, 0, 1, 0, 7, 0, 1], nested],
  ])('%s', (_, words, shape) => {
    const {apply} = view(shape);
    apply(...(shape === leaf ? [1, 0, 2, 1, 10] : [1, 0, 4, 1, 1, 0, 0]));
    expect(() => apply(...words)).toThrow(RangeError);
  });
});

test('the shape of a query follows the order of `related`, and looks through a hidden junction', () => {
  const correlation = {parentField: ['id'], childField: ['id']} as const;
  const related = (alias: string, more: object = {}) => ({correlation, subquery: {table: alias, alias, ...more}});
  const ast = {
    table: 'issue',
    related: [
      {...related('labels', {related: [related('labels')]}), hidden: true},
      related('10'),
    ],
  };
  const plain = {singular: false, relationships: {}};
  const format = {singular: false, relationships: {10: {singular: true, relationships: {}}, labels: plain}};
  expect(shapeOf(ast, format)).toEqual({
    singular: false,
    relationships: [{name: 'labels', list: leaf}, {name: '10', list: {...leaf, singular: true}}],
  });
});

test('random operations give what they give on plain arrays', () => {
  const random = seeded(Number(process.env['LANDFALL_TEST_SEED'] ?? 7));
  for (let round = 0; round < 200; round++) {
    const {apply} = view(leaf);
    let model: number[] = [];
    let shown: Snapshot = apply();
    for (let step = 0; step < 20; step++) {
      const words: number[] = [];
      const old = ids(shown);
      const before = shown;
      for (let n = random(3); n >= 0; n--) {
        const position = random(model.length + 1);
        const handle = 1 + random(1000);
        if (position === model.length || random(3) === 0) {
          words.push(2, 0, 0, position, handle);
          model = [...model.slice(0, position), handle, ...model.slice(position)];
        } else if (random(2) === 0) {
          words.push(3, 0, 0, position);
          model = model.filter((_, i) => i !== position);
        } else {
          const to = random(model.length);
          words.push(5, 0, 0, position, to, handle);
          model = model.filter((_, i) => i !== position);
          model = [...model.slice(0, to), handle, ...model.slice(to)];
        }
      }
      shown = apply(...words);
      expect(ids(shown)).toEqual(model);
      expect(ids(before)).toEqual(old);
    }
  }
});

test('random operations below entries give what they give on plain arrays, and keep the rest', () => {
  const random = seeded(Number(process.env['LANDFALL_TEST_SEED'] ?? 8));
  const shape: ListShape = {singular: false, relationships: [{name: 'l', list: leaf}]};
  type Model = readonly {readonly id: number; readonly l: readonly {readonly id: number}[]}[];
  const splice = <T>(list: readonly T[], at: number, gone: number, ...more: T[]): T[] =>
    [...list.slice(0, at), ...more, ...list.slice(at + gone)];
  for (let round = 0; round < 20; round++) {
    const {apply} = view(shape);
    let model: Model = [];
    let shown = apply() as Model;
    for (let step = 0; step < 20; step++) {
      const words: number[] = [];
      const before = shown;
      const copy = structuredClone(before);
      const untouched = new Set<number>(model.map(({id}) => id));
      // Now and then more changes than are followed one by one.
      for (let n = random(5) === 0 ? 60 : random(4); n > 0; n--) {
        const at = random(model.length + 1);
        const id = 1 + random(100_000);
        const entry = model[at];
        const what = entry === undefined ? 0 : random(5);
        if (what === 0) {
          words.push(2, 0, 0, at, id, 1, id + 1);
          model = splice(model, at, 0, {id, l: [{id: id + 1}]});
          continue;
        }
        untouched.delete(entry!.id);
        if (what === 1) {
          words.push(3, 0, 0, at);
          model = splice(model, at, 1);
        } else if (what === 2) {
          words.push(4, 0, 0, at, id);
          model = splice(model, at, 1, {...entry!, id});
        } else if (what === 3) {
          const to = random(model.length);
          words.push(5, 0, 0, at, to, id);
          model = splice(splice(model, at, 1), to, 0, {...entry!, id});
        } else {
          words.push(2, 0, 1, at, 0, 0, id);
          model = splice(model, at, 1, {...entry!, l: [{id}, ...entry!.l]});
        }
      }
      shown = apply(...words) as Model;
      expect(shown).toEqual(model);
      expect(before).toEqual(copy);
      const objects = new Set(shown);
      expect(before.filter(entry => untouched.has(entry.id) && !objects.has(entry))).toEqual([]);
    }
  }
});

function seeded(seed: number): (below: number) => number {
  let state = seed;
  return below => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}
