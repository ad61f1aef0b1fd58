/** Views that an application makes: what they are told, over the real module, in memory. */
import {afterEach, describe, expect, test, vi} from 'vitest';
import {
  type Change,
  createBuilder,
  defineQueries,
  defineQueryWithType,
  defineMutators,
  defineMutatorWithType,
  type Entry,
  type Format,
  type Input,
  type Node,
  type ViewFactory,
  Zero,
} from '../src/index.js';
import {
  addContextToQuery,
  applyChange,
  asQueryInternals,
  consume,
  DEFAULT_TTL_MS,
  idSymbol,
  must,
  skipYields,
  type ViewChange,
} from '../src/bindings.js';
import type {AnyQuery} from '../src/query/query.js';
import type {SourceSchema} from '../src/query/view-factory.js';
import {schema, type TestSchema} from './schema.js';

const zql = createBuilder(schema);
const mutators = defineMutators({
  write: defineMutatorWithType<TestSchema>()(async ({tx, args}: {tx: any; args: readonly (readonly [string, string, any])[]}) => {
    for (const [table, op, row] of args) {
      await tx.mutate[table][op](row);
    }
  }),
});

const open: Zero<any, any, any>[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map(zero => zero.close()));
});

type Write = readonly [table: string, op: string, row: {readonly [column: string]: unknown}];

function start(options: object = {}) {
  const zero = new Zero<TestSchema, any, unknown>({schema, mutators, userID: 'u1', logLevel: 'error', ...options} as never);
  open.push(zero);
  const write = async (...writes: Write[]) => {
    expect(await zero.mutate(mutators.write(writes as never) as never).client).toEqual({type: 'success'});
  };
  return {zero, write};
}

/** The simplest view there is: a tree of lists, kept in order by what the input says of it. */
class TreeView {
  readonly #schema: SourceSchema;
  readonly #format: Format;
  readonly #rows: Kept[];
  readonly destroy: () => void;
  commits = 0;

  constructor(input: Input, format: Format, onDestroy: () => void, onCommit: (commit: () => void) => void) {
    this.#schema = input.getSchema();
    this.#format = format;
    this.destroy = onDestroy;
    this.#rows = nodes(input.fetch({})).map(node => kept(this.#schema, node));
    input.setOutput({
      push: change => {
        apply(this.#schema, this.#rows, change);
        return [];
      },
    });
    onCommit(() => void this.commits++);
  }

  get data(): unknown {
    return shown(this.#format, this.#rows);
  }
}

const treeFactory: ViewFactory<any, any, any, TreeView> = (_query, input, format, onDestroy, onCommit) =>
  new TreeView(input, format, onDestroy, onCommit);

function inWords([type, node, extra]: Change): ViewChange {
  switch (type) {
    case 0:
      return {type: 'add', node};
    case 1:
      return {type: 'remove', node};
    case 2:
      return {type: 'edit', node, oldNode: extra};
    case 3:
      return {type: 'child', node, child: {relationshipName: extra.relationshipName, change: inWords(extra.change)}};
  }
}

/** A view that bindings would make of `applyChange`; `mutable` makes what it may change in place, anew for each transaction. */
class BindingView {
  #root: Entry;
  #mutable: boolean | WeakSet<object>;
  readonly published: {readonly data: unknown; readonly text: string}[] = [];

  constructor(input: Input, format: Format, onCommit: (commit: () => void) => void, mutable: () => boolean | WeakSet<object>) {
    this.#root = {'': format.singular ? undefined : []};
    this.#mutable = true;
    const change = (it: ViewChange) => {
      this.#root = applyChange(this.#root, it, input.getSchema(), '', format, true, this.#mutable);
    };
    for (const node of skipYields(input.fetch({}))) {
      change({type: 'add', node});
    }
    this.#mutable = mutable();
    input.setOutput({push: it => (change(inWords(it)), [])});
    onCommit(() => {
      this.published.push({data: this.data, text: JSON.stringify(this.data)});
      this.#mutable = mutable();
    });
  }

  get data(): unknown {
    return this.#root[''];
  }
}

const bindingFactory =
  (mutable: () => boolean | WeakSet<object>): ViewFactory<any, any, any, BindingView> =>
  (_query, input, format, _onDestroy, onCommit) =>
    new BindingView(input, format, onCommit, mutable);

/** Without the marks of `applyChange`. */
function plain(data: unknown): unknown {
  return data === undefined ? undefined : JSON.parse(JSON.stringify(data));
}

interface Kept {
  row: Node['row'];
  readonly lists: {readonly [name: string]: Kept[]};
}

function nodes(stream: Iterable<Node | 'yield'>): Node[] {
  return [...stream].filter(node => node !== 'yield');
}

function kept(schema: SourceSchema, {row, relationships}: Node): Kept {
  expect(Object.keys(row).sort()).toEqual(Object.keys(schema.columns).sort());
  const lists = Object.entries(relationships).map(([name, read]): [string, Kept[]] => [
    name,
    nodes(read()).map(node => kept(schema.relationships[name]!, node)),
  ]);
  return {row, lists: Object.fromEntries(lists)};
}

function placeOf(schema: SourceSchema, rows: Kept[], row: Node['row']): number {
  const place = rows.findIndex(it => schema.compareRows(it.row, row) >= 0);
  return place < 0 ? rows.length : place;
}

function apply(schema: SourceSchema, rows: Kept[], change: Change): void {
  const [type, node, extra] = change;
  const place = placeOf(schema, rows, type === 2 ? extra.row : node.row);
  if (type === 0) {
    rows.splice(place, 0, kept(schema, node));
    return;
  }
  const found = rows[place];
  if (found === undefined) {
    throw new Error('A row that was never told of has changed.');
  }
  expect(found.row).toEqual((type === 2 ? extra : node).row);
  if (type === 1) {
    rows.splice(place, 1);
  } else if (type === 2) {
    rows.splice(place, 1);
    found.row = node.row;
    rows.splice(placeOf(schema, rows, node.row), 0, found);
  } else {
    const {relationshipName, change: inner} = extra;
    apply(schema.relationships[relationshipName]!, found.lists[relationshipName]!, inner);
  }
}

function shown(format: Format, rows: readonly Kept[]): unknown {
  const entries = rows.map(({row, lists}): Entry => {
    const inner = Object.entries(lists).map(([name, list]) => [name, shown(format.relationships[name]!, list)]);
    return {...row, ...Object.fromEntries(inner)};
  });
  return format.singular ? entries[0] : entries;
}

const issue = (id: string, more: object = {}): Write => [
  'issue',
  'insert',
  {id, title: `issue ${id}`, open: true, kind: 'bug', rank: null, meta: null, tags: [], ownerID: 'u1', created: 1, ...more},
];

describe('a view of the application’s own', () => {
  test('holds what the built-in view holds, after random writes, for every kind of query', async () => {
    const {zero, write} = start();
    const queries: {readonly [name: string]: AnyQuery} = {
      list: zql.issue.orderBy('rank', 'desc').orderBy('title', 'asc'),
      window: zql.issue.orderBy('rank', 'asc').limit(3),
      one: zql.issue.orderBy('created', 'desc').one(),
      tree: zql.user.related('issues', q => q.orderBy('rank', 'desc').related('comments', c => c.related('author')).related('owner')),
      limited: zql.user.related('issues', q => q.orderBy('created', 'asc').limit(2).related('comments', c => c.limit(1))),
      junction: zql.issue.related('labels'),
      sortedJunction: zql.issue.related('labels', q => q.orderBy('name', 'desc').limit(2)),
      compound: zql.issueLabel.related('same'),
      exists: zql.issue.whereExists('comments').related('comments'),
      some: zql.issue.where(({or, cmp, exists}) => or(cmp('open', true), exists('labels'))).related('owner'),
    };
    const random = randomNumbers(20_251_122);
    const pick = <T>(values: readonly T[]): T => values[random(values.length)]!;
    const ids = ['a', 'b', 'c', 'd', 'e', 'ä', '\u{1f600}', '\uff5e'];
    const users = ['u1', 'u2', 'u3'];
    const row: {readonly [table: string]: () => Write[2]} = {
      user: () => ({id: pick(users), name: pick(ids), manager: null}),
      issue: () => ({
        id: pick(ids), title: pick(ids), open: pick([true, false]), kind: 'bug', rank: pick([null, 1, 2, -0.5]),
        meta: pick([null, {tags: [pick(ids)]}]), tags: [], ownerID: pick([null, ...users]), created: random(3),
      }),
      comment: () => ({id: pick(ids), issueID: pick(ids), authorID: pick(users), body: pick(ids), created: random(3)}),
      label: () => ({id: pick(ids), name: pick(ids)}),
      issueLabel: () => ({labelID: pick(ids), issueID: pick(ids)}),
    };
    const randomWrite = (): Write => {
      const table = pick(Object.keys(row));
      return [table, pick(['upsert', 'upsert', 'update', 'delete']), row[table]!()];
    };
    await write(...Array.from({length: 20}, randomWrite));
    const pairs = Object.entries(queries).map(([name, query]) => ({
      name,
      view: zero.materialize(query),
      own: zero.materialize(query, treeFactory),
      bindings: [() => false, () => true, () => new WeakSet()].map(mutable => zero.materialize(query, bindingFactory(mutable))),
    }));
    for (let step = 0; step < 80; step++) {
      await write(...Array.from({length: pick([1, 1, 2, 5])}, randomWrite));
      for (const {name, view, own, bindings} of pairs) {
        expect({name, step, data: own.data}).toEqual({name, step, data: view.data});
        for (const binding of bindings) {
          expect({name, step, data: plain(binding.data)}).toEqual({name, step, data: plain(view.data)});
        }
      }
    }
    // What was published is not changed later, unless that was asked for.
    for (const {bindings: [copying, , perTransaction]} of pairs) {
      for (const {data, text} of [...copying!.published, ...perTransaction!.published]) {
        expect(JSON.stringify(data)).toBe(text);
      }
    }
    expect(pairs.every(({own}) => own.commits > 0)).toBe(true);
  });

  test('made before the module is there, it is told of its rows when they come', async () => {
    const {zero, write} = start();
    const own = zero.materialize(zql.issue, treeFactory);
    expect(own.data).toEqual([]);
    await write(issue('a'));
    expect(own.data).toEqual([expect.objectContaining({id: 'a'})]);
  });

  test('hears nothing after it was destroyed, and the input can be destroyed as well', async () => {
    const {zero, write} = start();
    await write(issue('a'));
    const first = zero.materialize(zql.issue, treeFactory);
    const second = zero.materialize(zql.issue, (_query, input) => input);
    first.destroy();
    first.destroy();
    second.destroy();
    await write(issue('b'));
    expect(first.data).toHaveLength(1);
  });

  test('a factory that throws leaves nothing behind', async () => {
    const {zero} = start();
    await zero.ready;
    expect(() => zero.materialize(zql.issue, () => { throw new Error('no'); })).toThrow('no');
  });

  test('the input refuses to give a part of its rows', async () => {
    const {zero} = start();
    const input = zero.materialize(zql.issue, (_query, it) => it);
    expect(() => input.fetch({reverse: true})).toThrow('fetch takes {}');
    expect(() => input.fetch({start: {row: {id: 'a'}, basis: 'at'}})).toThrow('fetch takes {}');
  });

  test('is told of the end of the client as of a failed query', async () => {
    const {zero} = start();
    const queries = defineQueries({issues: defineQueryWithType<TestSchema>()(() => zql.issue)});
    let completion: unknown;
    zero.materialize(queries.issues(), (_query, _input, _format, _destroy, _commit, queryComplete) => void (completion = queryComplete));
    await zero.close();
    await expect(completion).rejects.toMatchObject({error: 'app', message: 'The client is closed.', details: {kind: 'ClientClosed'}});
    zero.materialize(zql.issue, (_query, _input, _format, _destroy, _commit, queryComplete) => void (completion = queryComplete));
    expect(completion).toMatchObject({error: 'app', details: {kind: 'ClientClosed'}});
  });

  test('the factory and the commits run inside batchViewUpdates', async () => {
    let depth = 0;
    const batchViewUpdates = (applyUpdates: () => void) => {
      depth++;
      applyUpdates();
      depth--;
    };
    const {zero, write} = start({batchViewUpdates});
    const depths: number[] = [];
    zero.materialize(zql.issue, (_query, _input, _format, _destroy, onCommit) => {
      depths.push(depth);
      onCommit(() => depths.push(depth));
    });
    await write(issue('a'));
    await vi.waitFor(() => expect(depths.length).toBeGreaterThan(1), {timeout: 60_000});
    expect(new Set(depths)).toEqual(new Set([1]));
  });

  test('queries of zero.query take a factory, and a ttl', async () => {
    const legacy = {...schema, enableLegacyQueries: true} as const;
    const {zero, write} = start({schema: legacy});
    await write(issue('a'));
    const query = (zero as unknown as Zero<typeof legacy>).query.issue;
    expect(query.materialize(treeFactory, '1m').data).toHaveLength(1);
    expect(query.materialize('1m').data).toHaveLength(1);
    expect(() => zql.issue.materialize(treeFactory)).toThrow('Query is not runnable');
  });
});

describe('what bindings build on', () => {
  const {schema: level} = {schema: {} as SourceSchema};
  const row = (id: string, title: string) => ({row: {id, title}, relationships: {}});
  const list: SourceSchema = {
    ...level, primaryKey: ['id'], relationships: {}, isHidden: false, compareRows: (a, b) => (String(a['id']) < String(b['id']) ? -1 : a['id'] === b['id'] ? 0 : 1),
  };
  const format: Format = {singular: false, relationships: {}};

  test('what did not change stays the same object, and entries tell their keys', () => {
    const empty: Entry = {'': []};
    const one = applyChange(empty, {type: 'add', node: row('a', '1')}, list, '', format, true);
    const two = applyChange(one, {type: 'add', node: row('b', '2')}, list, '', format, true);
    const three = applyChange(two, {type: 'edit', oldNode: row('b', '2'), node: row('b', '3')}, list, '', format, true);
    const entries = (root: Entry) => root[''] as readonly (Entry & {readonly [idSymbol]?: string})[];
    expect([empty, entries(one).length, entries(two).length]).toEqual([{'': []}, 1, 2]);
    expect(entries(three)[0]).toBe(entries(one)[0]);
    expect(entries(two)[1]?.['title']).toBe('2');
    expect(entries(three).map(entry => [entry['title'], entry[idSymbol]])).toEqual([['1', '"a"'], ['3', '"b"']]);
  });

  test('changes of rows that are not there, and a second row where there is one, are refused', () => {
    const gone: ViewChange = {type: 'remove', node: row('x', '')};
    expect(() => applyChange({'': []}, gone, list, '', format)).toThrow('not there');
    expect(() => applyChange({'': undefined}, gone, list, '', {...format, singular: true})).toThrow('not there');
    const one = applyChange({'': undefined}, {type: 'add', node: row('a', '')}, list, '', {...format, singular: true});
    expect(() => applyChange(one, {type: 'add', node: row('b', '')}, list, '', {...format, singular: true})).toThrow(
      'should not have multiple rows',
    );
  });

  test('queries and requests', () => {
    const queries = defineQueries({
      mine: defineQueryWithType<TestSchema, {userID: string}>()(({ctx}) => zql.issue.where('ownerID', ctx.userID)),
    });
    const query = addContextToQuery(queries.mine(), {userID: 'u'});
    expect(asQueryInternals(query).customQueryID).toEqual({name: 'mine', args: []});
    expect(addContextToQuery(query, {})).toBe(query);
    expect(DEFAULT_TTL_MS).toBe(300_000);
    expect(() => must(undefined, 'gone')).toThrow('gone');
    let read = 0;
    consume((function* () { read++; yield 'yield'; read++; })());
    expect(read).toBe(2);
  });
});

// A small generator, so that a failure can be had again.
function randomNumbers(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return below => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}
