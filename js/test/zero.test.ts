/** The client in Node: the real module, in memory, without a server. */
import {afterEach, describe, expect, test, vi} from 'vitest';
import {createBuilder, defineMutators, defineMutatorWithType, defineQueries, defineQueryWithType, Zero} from '../src/index.js';
import {ClientMutators} from '../src/client-mutators.js';
import type {MutatorResult} from '../src/mutate/mutator-result.js';
import {preload} from '../src/preload.js';
import type {AST} from '../src/query/ast.js';
import {queryInternals, queryInternalsTag} from '../src/query/internals.js';
import {schema, type TestSchema} from './schema.js';

const zql = createBuilder(schema);
const defineQuery = defineQueryWithType<TestSchema>();
const defineMutator = defineMutatorWithType<TestSchema>();

type NewIssue = {readonly id: string; readonly title: string; readonly rank?: number | undefined};

const mutators = defineMutators({
  issue: {
    create: defineMutator(async ({tx, args}: {tx: any; args: NewIssue}) => {
      await tx.mutate.issue.insert({
        id: args.id, title: args.title, open: true, kind: 'bug', tags: ['a'], created: 1, rank: args.rank, ownerID: 'u1',
      });
    }),
    comment: defineMutator(async ({tx, args}: {tx: any; args: {id: string; issueID: string}}) => {
      await tx.mutate.comment.insert({id: args.id, issueID: args.issueID, authorID: 'u1', body: 'text', created: 1});
    }),
    rename: defineMutator(async ({tx, args}: {tx: any; args: {id: string; title: string}}) => {
      const before = await tx.run(zql.issue.where('id', args.id).one());
      await tx.mutate.issue.update({id: args.id, title: `${before?.title} → ${args.title}`});
    }),
    remove: defineMutator(async ({tx, args}: {tx: any; args: {id: string}}) => {
      await tx.mutate.issue.delete({id: args.id});
    }),
    fail: defineMutator(async ({tx, args}: {tx: any; args: {id: string}}) => {
      await tx.mutate.issue.insert({id: args.id, title: 't', open: true, kind: 'bug', tags: [], created: 1});
      throw new Error('not today');
    }),
    tag: defineMutator(async ({tx, args}: {tx: any; args: {id: string; tags: string[]}}) => {
      args.tags.push('new');
      await tx.mutate.issue.update({id: args.id, tags: args.tags});
    }),
    throwThing: defineMutator(async ({args}: {args: {kind: 'cyclic' | 'bigint' | 'bare'}}) => {
      const cyclic: {self?: unknown} = {};
      cyclic.self = cyclic;
      const details = {cyclic, bigint: 1n, bare: undefined}[args.kind];
      throw args.kind === 'bare' ? Object.create(null) : Object.assign(new Error('odd'), {details});
    }),
    badNumber: defineMutator(async ({tx, args}: {tx: any; args: {id: string}}) => {
      await tx.mutate.issue.update({id: args.id, created: NaN});
    }),
  },
  user: {
    create: defineMutator(async ({tx, args}: {tx: any; args: {id: string; name: string}}) => {
      await tx.mutate.user.insert(args);
    }),
  },
});
const queries = defineQueries({
  issues: defineQuery(() => zql.issue.orderBy('id', 'asc').related('comments').related('owner')),
});

const open: Zero<any, any, any>[] = [];
afterEach(async () => {
  vi.unstubAllGlobals();
  await Promise.all(open.splice(0).map(zero => zero.close()));
});

function start(options: object = {}): Zero<TestSchema, typeof mutators, unknown> {
  const zero = new Zero<TestSchema, any, unknown>({schema, mutators, userID: 'u1', logLevel: 'error', ...options} as never);
  open.push(zero);
  return zero as never;
}

async function ran(result: MutatorResult): Promise<void> {
  expect(await result.client).toEqual({type: 'success'});
}

describe('a client without a server', () => {
  test('answers what its mutators wrote', async () => {
    const zero = start();
    // Asked before the module is there: queued in order.
    await ran(zero.mutate(mutators.issue.create({id: 'i1', title: 'Ünïcode 😀'}) as never));
    const [row] = await zero.run(zql.issue);
    expect(row).toEqual({
      id: 'i1', title: 'Ünïcode 😀', open: true, kind: 'bug', rank: null, meta: null, tags: ['a'], ownerID: 'u1', created: 1,
    });
    expect(Object.isFrozen(row)).toBe(true);
    expect(await zero.run(zql.issue.where('id', 'i1').one())).toEqual(row);
    expect(await zero.run(zql.issue.where('id', 'other').one())).toBeUndefined();
  });

  test('does what was asked for before it was there in its order', async () => {
    const zero = start();
    const titles = Array.from({length: 300}, (_, n) => String(n));
    // So many that they are not all done in one task; what is asked for meanwhile comes behind.
    const [first, ...others] = titles;
    void zero.mutate(mutators.issue.create({id: 'i1', title: first!}) as never);
    const renamed = others.map(title => zero.mutate(mutators.issue.rename({id: 'i1', title}) as never) as MutatorResult);
    await zero.ready;
    await ran(zero.mutate(mutators.issue.rename({id: 'i1', title: 'last'}) as never));
    expect(await zero.run(zql.issue.where('id', 'i1').one())).toMatchObject({title: [...titles, 'last'].join(' → ')});
    expect(await Promise.all(renamed.map(({client}) => client))).toEqual(others.map(() => ({type: 'success'})));
  });

  test('warms up where the page rests, unseen and to an end', async () => {
    const resting: (() => void)[] = [];
    vi.stubGlobal('requestIdleCallback', (step: () => void) => resting.push(step));
    const zero = start();
    await ran(zero.mutate(mutators.issue.create({id: 'i1', title: 'one'}) as never));
    const view = zero.materialize(zql.issue.orderBy('id', 'asc'));
    const before = view.data;
    let steps = 0;
    for (let step = resting.shift(); step !== undefined; step = resting.shift()) {
      step();
      steps++;
    }
    expect(steps).toBe(17);
    expect(view.data).toBe(before);
    await ran(zero.mutate(mutators.issue.create({id: 'i2', title: 'two'}) as never));
    expect(view.data).toMatchObject([{id: 'i1'}, {id: 'i2'}]);
  });

  test('does not warm up any more when it is closed', async () => {
    const resting: (() => void)[] = [];
    vi.stubGlobal('requestIdleCallback', (step: () => void) => resting.push(step));
    const zero = start();
    await zero.ready;
    await zero.close();
    resting.shift()!();
    expect(resting).toEqual([]);
  });

  test('shows the same row as the same object, in every view and in every answer', async () => {
    const zero = start();
    for (const id of ['i1', 'i2']) {
      await ran(zero.mutate(mutators.issue.create({id, title: id}) as never));
    }
    const asked = await zero.run(zql.issue.orderBy('id', 'asc'));
    const view = zero.materialize(zql.issue.orderBy('id', 'desc'));
    expect(view.data[1]).toBe(asked[0]);
    view.destroy();
    await new Promise(resolve => setTimeout(resolve, 100));
    await ran(zero.mutate(mutators.issue.rename({id: 'i2', title: 'new'}) as never));
    const again = await zero.run(zql.issue.orderBy('id', 'asc'));
    expect(again[0]).toBe(asked[0]);
    expect(again[1]).not.toBe(asked[1]);
    expect(again[1]!.title).toBe('i2 → new');
  });

  test('keeps a live answer current, and the identity of what did not change', async () => {
    const zero = start();
    await zero.ready;
    const view = zero.materialize(queries.issues() as never) as any;
    const shown: any[] = [];
    view.addListener((data: unknown, type: string) => shown.push([data, type]));
    expect(shown).toEqual([[[], 'unknown']]);
    await ran(zero.mutate(mutators.user.create({id: 'u1', name: 'Ann'}) as never));
    await ran(zero.mutate(mutators.issue.create({id: 'i1', title: 'one'}) as never));
    await ran(zero.mutate(mutators.issue.create({id: 'i2', title: 'two'}) as never));
    const before = view.data;
    expect(before.map(({id, owner}: any) => [id, owner.name])).toEqual([['i1', 'Ann'], ['i2', 'Ann']]);
    await ran(zero.mutate(mutators.issue.comment({id: 'c1', issueID: 'i2'}) as never));
    const after = view.data;
    expect(after[1].comments).toMatchObject([{id: 'c1', issueID: 'i2', body: 'text'}]);
    expect(after[0]).toBe(before[0]);
    expect(after[1].owner).toBe(before[1].owner);
    expect(before[1].comments).toEqual([]);
    await ran(zero.mutate(mutators.issue.rename({id: 'i1', title: 'renamed'}) as never));
    expect(view.data[0].title).toBe('one → renamed');
    await ran(zero.mutate(mutators.issue.remove({id: 'i1'}) as never));
    expect(view.data.map(({id}: any) => id)).toEqual(['i2']);
    view.destroy();
  });

  test('an answer can be sorted in place, what a view shows cannot be changed', async () => {
    const zero = start();
    for (const id of ['i1', 'i2']) {
      await ran(zero.mutate(mutators.issue.create({id, title: id}) as never));
    }
    const view = zero.materialize(zql.issue.orderBy('id', 'asc')) as any;
    expect(() => view.data.pop()).toThrow(TypeError);
    const asked = await zero.run(zql.issue.orderBy('id', 'asc')) as any[];
    expect(asked.reverse().map(({id}) => id)).toEqual(['i2', 'i1']);
    await ran(zero.mutate(mutators.issue.create({id: 'i3', title: 'i3'}) as never));
    expect(view.data.map(({id}: any) => id)).toEqual(['i1', 'i2', 'i3']);
  });

  test('tells how it reads a query', async () => {
    const zero = start();
    await ran(zero.mutate(mutators.issue.create({id: 'i1', title: 'one'}) as never));
    await ran(zero.mutate(mutators.issue.comment({id: 'c1', issueID: 'i1'}) as never));
    const plan = await zero.analyzeQuery(zql.issue.whereExists('comments', {flip: true}).related('owner'));
    expect(plan).toMatchObject({
      table: 'issue', role: 'result', access: 'keys of zsubq_comments', order: ['id'],
      read: {fetches: 1, rows: 1, given: 1},
      conditions: [{table: 'comment', role: 'exists', evaluation: 'flipped'}],
      related: [{table: 'user', alias: 'owner', read: {rows: 0, given: 0}}],
    });
  });

  test('rolls back a mutator that throws, and says why', async () => {
    const zero = start();
    const result = zero.mutate(mutators.issue.fail({id: 'x'}) as never);
    const expected = {type: 'error', error: {type: 'app', message: 'not today'}};
    expect(await result.client).toMatchObject(expected);
    expect(await result.server).toMatchObject(expected);
    expect(await result.durable).toMatchObject(expected);
    expect(await zero.run(zql.issue)).toEqual([]);
  });

  test('ends the call of a mutator that throws what JSON cannot hold', async () => {
    const zero = start();
    for (const kind of ['cyclic', 'bigint', 'bare'] as const) {
      const details = await zero.mutate(mutators.issue.throwThing({kind}) as never).server;
      const message = kind === 'bare' ? 'Something was thrown that cannot be shown.' : 'odd';
      expect(details).toMatchObject({type: 'error', error: {type: 'app', message}});
    }
    await ran(zero.mutate(mutators.issue.create({id: 'i1', title: 'one'}) as never));
  });

  test('takes a text that was cut in the middle of a character', async () => {
    const zero = start();
    await ran(zero.mutate(mutators.issue.create({id: 'i1', title: '👋'.slice(0, 1)}) as never));
    expect(await zero.run(zql.issue)).toMatchObject([{title: '\ufffd'}]);
    expect(await zero.run(zql.issue.where('title', '👋'.slice(1)))).toHaveLength(1);
  });

  test('refuses a number that JSON does not have', async () => {
    const zero = start();
    await ran(zero.mutate(mutators.issue.create({id: 'i1', title: 'one'}) as never));
    const {error} = (await zero.mutate(mutators.issue.badNumber({id: 'i1'}) as never).client) as any;
    expect(error.message).toContain('NaN');
  });

  test('refuses a mutator of another registry', () => {
    const zero = start();
    const other = defineMutators({issue: {create: defineMutator(async () => {})}});
    expect(() => zero.mutate(other.issue.create(undefined as never) as never)).toThrow('is not registered');
  });

  test('shows the last one of a relationship that a query names twice', async () => {
    const zero = start();
    const {issue} = zql as any;
    const view = zero.materialize(issue.related('comments').related('owner').related('comments')) as any;
    await ran(zero.mutate(mutators.issue.create({id: 'i1', title: 'one'}) as never));
    expect(view.data).toMatchObject([{id: 'i1', comments: []}]);
    expect(view.data[0].owner).toBeUndefined();
    const own = (title: string) => issue.related('comments', (c: any) => c.related('author')).where('title', title);
    expect(await zero.run(own('one').related('comments', (c: any) => c.where('id', 'x')))).toMatchObject([{comments: []}]);
    expect(await zero.run(issue.related('owner').related('owner'))).toMatchObject([{id: 'i1'}]);
  });

  test('lists what the server has not confirmed', async () => {
    const zero = start();
    const heard = vi.fn();
    zero.pending.subscribe(heard);
    await ran(zero.mutate(mutators.issue.create({id: 'i1', title: 'one'}) as never));
    expect(heard).toHaveBeenCalled();
    expect(zero.pending.current).toEqual([
      {clientID: zero.clientID, id: 1, name: 'issue.create', args: {id: 'i1', title: 'one'}, state: 'pending'},
    ]);
  });

  test('lists a mutation as the same object for as long as nothing happens to it', async () => {
    const zero = start();
    await ran(zero.mutate(mutators.issue.create({id: 'i1', title: 'one'}) as never));
    const before = zero.pending.current;
    await ran(zero.mutate(mutators.issue.create({id: 'i2', title: 'two'}) as never));
    const after = zero.pending.current;
    expect(after.map(({id}) => id)).toEqual([1, 2]);
    expect(after[0]).toBe(before[0]);
    expect(before).toHaveLength(1);
    expect(zero.pending.current).toBe(after);
  });

  test('runs mutators one after the other, in the order of the calls', async () => {
    const zero = start();
    const results = Array.from({length: 20}, (_, i) =>
      zero.mutate(mutators.issue.create({id: `i${i}`, title: 't', rank: i}) as never),
    );
    results.push(zero.mutate(mutators.issue.rename({id: 'i7', title: 'x'}) as never));
    await Promise.all(results.map(ran));
    const issues = (await zero.run(zql.issue.where('rank', '<', 8).orderBy('rank', 'desc').limit(3))) as any[];
    expect(issues.map(({id}) => id)).toEqual(['i7', 'i6', 'i5']);
    expect(issues[0].title).toBe('t → x');
  });

  test('runs a mutator again with the arguments of the call, whatever an earlier run has done with them', async () => {
    const written: string[] = [];
    const core = {
      mutate: (_name: string, _args: string, called: (call: number) => void) => called(1),
      write: (_tx: number, _table: string, _op: string, row: string) => written.push(JSON.parse(row).tags.join()),
      settle: () => {},
    };
    const host = {
      schema, context: undefined, auth: undefined, clientID: 'c', closed: false, whenCore: (use: (core: any) => void) => use(core), log: () => {},
    };
    const client = new ClientMutators(host, mutators);
    const args = {id: '1', tags: ['a']};
    (client.mutate as any)(mutators.issue.tag(args));
    args.tags.push('later');
    for (const reason of ['optimistic', 'rebase', 'rebase'] as const) {
      client.runCall(core as never, {type: 'runCall', tx: 1, call: 1, reason, mutationID: 1});
      await Promise.resolve();
    }
    expect(written).toEqual(['a,new', 'a,new', 'a,new']);
  });

  test('says so when it is closed', async () => {
    const zero = start();
    await zero.ready;
    await ran(zero.mutate(mutators.issue.create({id: 'i1', title: 'one'}) as never));
    const view = zero.materialize(queries.issues());
    await zero.close();
    await zero.close();
    expect(zero.closed).toBe(true);
    expect(zero.connection.state.current.name).toBe('closed');
    expect(view.data).toHaveLength(1);
    const types: string[] = [];
    view.addListener((_, type) => types.push(type));
    expect(types).toEqual(['error']);
    const late = zero.mutate(mutators.issue.create({id: 'i2', title: 'two'}) as never);
    expect(await late.client).toMatchObject({type: 'error', error: {type: 'zero'}});
    await expect(zero.run(zql.issue)).rejects.toMatchObject({code: 'closed'});
  });

  test('does not say that a write failed that shows, when a listener closes it', async () => {
    const zero = start();
    await zero.ready;
    const view = zero.materialize(zql.issue);
    view.addListener(rows => {
      if (rows.length > 0) {
        void zero.close();
      }
    });
    const shown = zero.mutate(mutators.issue.create({id: 'i1', title: 'one'}) as never);
    const waiting = zero.mutate(mutators.issue.create({id: 'i2', title: 'two'}) as never);
    expect(await shown.client).toEqual({type: 'success'});
    expect(await shown.server).toMatchObject({type: 'error', error: {type: 'zero'}});
    expect(await waiting.client).toMatchObject({type: 'error', error: {type: 'zero'}});
    expect(await waiting.durable).toMatchObject({type: 'error', error: {type: 'zero'}});
    await zero.close();
    expect(view.data).toHaveLength(1);
  });

  test('takes what bindings do with its views while it is closed, without throwing', async () => {
    const zero = start();
    await zero.ready;
    const list = () => queries.issues.fn({args: undefined, ctx: undefined});
    const view = zero.materialize(list(), {ttl: '1m'});
    const store = zero.viewStore(list());
    store.subscribe(() => {});
    await zero.close();
    view.updateTTL('10m');
    expect(zero.viewStore(list(), {ttl: '20m'})).toBe(store);
    const [, details] = store.getSnapshot();
    expect(details.type).toBe('error');
    (details as {retry(): void}).retry();
  });

  test('ends the wait for a preload', async () => {
    const zero = start();
    await zero.ready;
    const before = zero.preload(zql.issue).complete;
    await zero.close();
    await expect(before).rejects.toMatchObject({code: 'closed'});
    await expect(zero.preload(zql.issue).complete).rejects.toMatchObject({code: 'closed'});
  });

  test('can be closed before it has loaded', async () => {
    const zero = start();
    const pending = zero.mutate(mutators.issue.create({id: 'i1', title: 'one'}) as never);
    await zero.close();
    expect(await pending.client).toMatchObject({type: 'error', error: {type: 'zero'}});
    await expect(zero.ready).rejects.toMatchObject({code: 'closed'});
  });
});

test('a preload that is cleaned up while it is opened is dropped', () => {
  const drop = vi.fn();
  let open = (_core: unknown): void => {};
  const owner = {whenCore: (use: (core: never) => void) => void (open = use as never), sourceOf: () => ({type: 'local'})};
  const {cleanup} = preload(owner as never, {astJSON: '{}'} as never, 0);
  open({
    openView: () => {
      cleanup();
      return {drop};
    },
  });
  expect(drop).toHaveBeenCalledOnce();
});

describe('view stores', () => {
  test('are shared by query, stable, and there at once', async () => {
    const zero = start();
    await zero.ready;
    await ran(zero.mutate(mutators.issue.create({id: 'i1', title: 'one'}) as never));
    const store = zero.viewStore(zql.issue);
    expect(zero.viewStore(createBuilder(schema).issue)).toBe(store);
    const snapshot = store.getSnapshot();
    expect(snapshot[0]).toHaveLength(1);
    expect(store.getSnapshot()).toBe(snapshot);
    const heard = vi.fn();
    const stop = store.subscribe(heard);
    await ran(zero.mutate(mutators.user.create({id: 'u', name: 'n'}) as never));
    expect(heard).not.toHaveBeenCalled();
    expect(store.getSnapshot()).toBe(snapshot);
    await ran(zero.mutate(mutators.issue.create({id: 'i2', title: 'two'}) as never));
    expect(heard).toHaveBeenCalledOnce();
    stop();
  });

  test('outlive a second mount and revive after a pause', async () => {
    const zero = start();
    await zero.ready;
    const store = zero.viewStore(zql.issue);
    store.subscribe(() => {})();
    const stop = store.subscribe(() => {});
    await new Promise(resolve => setTimeout(resolve, 80));
    expect(zero.viewStore(zql.issue)).toBe(store);
    stop();
    await new Promise(resolve => setTimeout(resolve, 80));
    expect(zero.viewStore(zql.issue)).not.toBe(store);
    // Dropped, and subscribed to all the same: it shows data again.
    store.subscribe(() => {});
    await ran(zero.mutate(mutators.issue.create({id: 'i1', title: 'one'}) as never));
    expect(store.getSnapshot()[0]).toHaveLength(1);
  });

  test('of a query that is refused are let go of', async () => {
    const zero = start();
    await zero.ready;
    const refused = () => zql.issue.where('title', 'LIKE', 5 as never);
    const store = zero.viewStore(refused());
    const stop = store.subscribe(() => {});
    expect(store.getSnapshot()[1].type).toBe('error');
    expect(zero.viewStore(refused())).toBe(store);
    stop();
    await new Promise(resolve => setTimeout(resolve, 100));
    expect(zero.viewStore(refused())).not.toBe(store);
  });

  test('are empty and unknown before the module has loaded', () => {
    const zero = start();
    expect(zero.viewStore(zql.issue).getSnapshot()).toEqual([[], {type: 'unknown'}]);
    expect(zero.viewStore(zql.issue.one()).getSnapshot()).toEqual([undefined, {type: 'unknown'}]);
  });
});

describe('options', () => {
  test.each([
    [{auth: 'token', userID: undefined}, 'userID is required'],
    [{userID: ''}, 'must not be empty'],
    [{userID: 5}, 'must be a string, not a number'],
    [{schema: undefined}, 'schema must be what createSchema gave'],
    [{cacheURL: 'ftp://x'}, 'ZeroOptions.cacheURL must use the "http" or "https"'],
    [{cacheURL: ''}, 'ZeroOptions.cacheURL must use the "http" or "https" scheme (got "")'],
    [{server: 'x'}, 'ZeroOptions.server must use the "http" or "https"'],
    [{cacheURL: 'http://x/a/b'}, 'at most one path component'],
    [{cacheURL: 'http://x/?a=1'}, 'query or hash'],
    [{pingTimeoutMs: -1}, 'must not be negative'],
    [{kvStore: 'disk'}, "'idb' or 'mem'"],
    [{kvStore: {create: () => ({}), drop: async () => {}}}, "does not take a store of the application's own"],
    [{maxRecentQueries: -1}, 'maxRecentQueries must not be negative'],
  ])('%j', (options, message) => {
    expect(() => start(options)).toThrow(message);
  });

  test('what is no call of a mutator is told so', () => {
    const zero = start();
    for (const request of [undefined, {}, mutators.issue.create]) {
      expect(() => zero.mutate(request as never)).toThrow('takes the call of a mutator');
    }
  });

  test('arguments that JSON has no place for are told by mutator and place', () => {
    const zero = start();
    const mutate = (args: object) => () => zero.mutate(mutators.user.create(args as never) as never);
    expect(mutate({price: 1n})).toThrow('The arguments of the mutator user.create cannot be written as JSON: args.price is a bigint');
    expect(mutate({lines: [{count: 1}, {count: 2n}]})).toThrow('args.lines[1].count is a bigint');
    const cyclic: {self?: unknown} = {};
    cyclic.self = cyclic;
    expect(mutate(cyclic)).toThrow(/user\.create cannot be written as JSON: .*circular/);
  });

  test('what mutate gives can be spread', async () => {
    const zero = start();
    const {client, ...others} = {...zero.mutate(mutators.user.create({id: 'u1', name: 'Ann'}) as never) as MutatorResult};
    expect(Object.keys(others).sort()).toEqual(['durable', 'server']);
    expect(await client).toEqual({type: 'success'});
  });

  test('a module that is none is an error of loading', async () => {
    const zero = start({wasm: new Uint8Array([1, 2, 3])});
    vi.spyOn(console, 'error').mockImplementation(() => {});
    await expect(zero.ready).rejects.toMatchObject({code: 'load'});
    expect(zero.connection.state.current.name).toBe('closed');
    vi.restoreAllMocks();
  });
});

describe('loading', () => {
  afterEach(() => {
    vi.useRealTimers();
    vi.unstubAllGlobals();
  });

  test('is tried again when the network failed, and what was asked for meanwhile is done', async () => {
    const {readFile} = await import('node:fs/promises');
    const bytes = await readFile(new URL('../wasm/landfall_bg.wasm', import.meta.url));
    const answer = () => new Response(bytes, {headers: {'content-type': 'application/wasm'}});
    const fetch = vi.fn<() => Promise<Response>>().mockRejectedValueOnce(new TypeError('fetch failed'));
    fetch.mockImplementation(async () => answer());
    vi.stubGlobal('fetch', fetch);
    const zero = start({wasm: 'http://localhost/landfall_bg.wasm'});
    await ran(zero.mutate(mutators.issue.create({id: 'i1', title: 'one'}) as never));
    expect(await zero.run(zql.issue)).toHaveLength(1);
    expect(fetch).toHaveBeenCalledTimes(2);
  });

  test('one refused call of the time before does not end the client', async () => {
    const zero = start();
    const bad = {table: 'nowhere'};
    const view = zero.viewStore(zql.issue);
    const heard = vi.fn();
    view.subscribe(heard);
    const strange = zero.viewStore({...fakeQuery(bad)} as never);
    await zero.ready;
    await ran(zero.mutate(mutators.issue.create({id: 'i1', title: 'one'}) as never));
    expect(view.getSnapshot()[0]).toHaveLength(1);
    expect(strange.getSnapshot()[1]).toMatchObject({type: 'error'});
  });
});

// A query that names a table which the schema does not have.
function fakeQuery(ast: object): object {
  const format = {singular: false, relationships: {}};
  return {
    [queryInternalsTag]: queryInternals(ast as AST, format, undefined),
  };
}

describe('the deprecated ways', () => {
  const legacySchema = {...schema, enableLegacyQueries: true, enableLegacyMutators: true} as const;
  const user = {id: 'u1', name: 'Ann'};

  test('a schema with legacy queries has them on the client and in transactions', async () => {
    const seen: unknown[] = [];
    const looking = defineMutators({
      look: defineMutator(async ({tx}: {tx: any}) => void seen.push(await tx.query.user.where('id', 'u1').one().run())),
    });
    const zero = start({schema: legacySchema, mutators: looking}) as unknown as Zero<typeof legacySchema, any, unknown>;
    await zero.mutate.user.insert(user);
    expect(await zero.query.user.run()).toEqual([{...user, manager: null}]);
    const view = zero.query.user.where('name', 'LIKE', 'A%').one().materialize();
    expect(view.data).toMatchObject(user);
    view.destroy();
    zero.query.user.preload().cleanup();
    await ran(zero.mutate(looking.look() as never));
    expect(seen).toMatchObject([user]);
    expect(Object.keys(zero.mutate)).toEqual(Object.keys(schema.tables));
    await expect(zero.mutate.user.insert({id: 'u2', name: 3} as never)).rejects.toThrow('Column "name"');
    expect(start().query).toBeUndefined();
    expect(start().mutateBatch).toBeUndefined();
  });

  test('a batch is one mutation', async () => {
    const zero = start({schema: legacySchema}) as unknown as Zero<typeof legacySchema, any, unknown>;
    const before = zero.pending.current.length;
    const answer = await zero.mutateBatch(async mutate => {
      await mutate.user.insert(user);
      await mutate.user.update({id: 'u1', name: 'Bea'});
      return 'done';
    });
    expect(answer).toBe('done');
    expect(await zero.query.user.run()).toEqual([{id: 'u1', name: 'Bea', manager: null}]);
    expect(zero.pending.current.length - before).toBe(1);
    expect(zero.pending.current.at(-1)).toMatchObject({name: '_zero_crud'});
  });

  test('mutators may be a tree of functions', async () => {
    const mutators = {
      people: {
        add: async (tx: any, args: {id: string; name: string}) => {
          await tx.mutate.user.insert(args);
        },
        refuse: async () => {
          throw new Error('no');
        },
      },
      clear: async (tx: any) => {
        await tx.mutate.user.delete({id: 'u1'});
      },
    };
    const zero = new Zero({schema, mutators, userID: 'u1', logLevel: 'error'} as never) as unknown as Zero<TestSchema, typeof mutators, unknown>;
    open.push(zero);
    await ran(zero.mutate.people.add(user));
    expect(await zero.run(zql.user)).toEqual([{...user, manager: null}]);
    expect(zero.pending.current.map(({name}) => name)).toEqual(['people|add']);
    expect(await zero.mutate.people.refuse().client).toMatchObject({type: 'error', error: {message: 'no'}});
    await ran(zero.mutate.clear());
    expect(await zero.run(zql.user)).toEqual([]);
    expect(() => new Zero({schema, mutators: {'a.b': async () => {}}} as never)).toThrow('must not contain');
  });
});

test('the clients of a page are found by its tools', async () => {
  const shown = () => (globalThis as {__zero?: unknown}).__zero;
  expect(shown()).toBeUndefined();
  const one = start();
  expect(shown()).toBe(one);
  const two = start({storageKey: 'two'});
  expect(shown()).toEqual(new Map([[one.clientID, one], [two.clientID, two]]));
  await one.close();
  expect(shown()).toBe(two);
  await two.close();
  expect(shown()).toBeUndefined();
});
