import {beforeEach, describe, expect, test, vi} from 'vitest';
import {ApplicationError} from '../../src/application-error.js';
import {defineMutators, defineMutatorWithType, mustGetMutator} from '../../src/mutate/mutator-registry.js';
import {createBuilder} from '../../src/query/create-builder.js';
import {number, string} from '../../src/schema/column.js';
import {createSchema} from '../../src/schema/schema.js';
import {table} from '../../src/schema/table.js';
import {zeroNodePg} from '../../src/server/adapters/pg.js';
import {
  handleMutateRequest,
  PushProcessor,
  type Database,
  type LogLevel,
  type MutateResponse,
  type MutationHandler,
} from '../../src/server/index.js';
import {useTestDatabase} from './test-database.js';

const counter = table('counter').columns({id: string(), n: number()}).primaryKey('id');
const schema = createSchema({tables: [counter]});
const zql = createBuilder(schema);

const defineMutator = defineMutatorWithType<typeof schema, {readonly userID: string} | undefined>();
const mutators = defineMutators({
  counter: {
    add: defineMutator<{id: string; n: number}>(async ({tx, args}) => {
      const found = await tx.run(zql.counter.where('id', args.id).one());
      await tx.mutate.counter.upsert({id: args.id, n: (found?.n ?? 0) + args.n});
    }),
    fail: defineMutator<{id: string}>(async ({tx, args}) => {
      await tx.mutate.counter.upsert({id: args.id, n: -1});
      throw new ApplicationError('not today', {details: {code: 7}});
    }),
    whoAmI: defineMutator<{id: string}>(async ({tx, args, ctx}) => {
      await tx.mutate.counter.upsert({id: `${args.id}-${ctx?.userID}-${tx.clientID}`, n: tx.mutationID});
    }),
  },
});

const database = useTestDatabase(`
  CREATE TABLE counter (id text PRIMARY KEY, n int NOT NULL);
  CREATE SCHEMA zero_0;
  CREATE TABLE zero_0.clients (
    "clientGroupID" text, "clientID" text, "lastMutationID" bigint, "userID" text, PRIMARY KEY ("clientGroupID", "clientID")
  );
  CREATE TABLE zero_0.mutations (
    "clientGroupID" text, "clientID" text, "mutationID" bigint, result json NOT NULL,
    PRIMARY KEY ("clientGroupID", "clientID", "mutationID")
  );
`);
const db = zeroNodePg(schema, database.pool);
const query = {schema: 'zero_0', appID: 'zero'};

const handler: MutationHandler<any> = transact =>
  transact((tx, name, args) => mustGetMutator(mutators, name).fn({tx, args, ctx: {userID: 'u1'}}));

beforeEach(() => database.sql('TRUNCATE counter, zero_0.clients, zero_0.mutations'));

interface Call {
  id: number;
  name: string;
  arg?: unknown;
  clientID?: string;
}

function body(...calls: Call[]) {
  return {
    clientGroupID: 'g1',
    pushVersion: 1,
    timestamp: 1,
    requestID: 'r1',
    mutations: calls.map(({id, name, arg, clientID}) => ({
      type: 'custom',
      id,
      clientID: clientID ?? 'c1',
      name,
      args: [arg ?? null],
      timestamp: 1,
    })),
  };
}

function push(pushed: unknown, overrides: {handler?: MutationHandler<any>; dbProvider?: Database<any>; query?: {}; logLevel?: LogLevel} = {}) {
  return handleMutateRequest({
    dbProvider: db,
    handler,
    userID: 'u1',
    query,
    body: pushed,
    logLevel: 'error',
    ...overrides,
  });
}

// What goes wrong here on purpose is reported; keep the report of the tests readable.
beforeEach(() => {
  const silenced = vi.spyOn(console, 'error').mockImplementation(() => {});
  return () => silenced.mockRestore();
});

const add = (id: number, n = 1): Call => ({id, name: 'counter.add', arg: {id: 'x', n}});
const fail = (id: number): Call => ({id, name: 'counter.fail', arg: {id: 'y'}});
const answer = (id: number, result: {} = {}, clientID = 'c1') => ({id: {clientID, id}, result});

function results(response: MutateResponse) {
  expect(response).toMatchObject({kind: 'MutateResponse', userID: 'u1'});
  return 'mutations' in response ? response.mutations : [];
}

async function state() {
  const [counters, clients, stored] = await Promise.all([
    database.sql('SELECT id, n FROM counter ORDER BY id'),
    database.sql('SELECT "clientID" AS c, "lastMutationID"::int AS id FROM zero_0.clients ORDER BY 1'),
    database.sql('SELECT "clientGroupID" AS g, "clientID" AS c, "mutationID"::int AS id, result FROM zero_0.mutations ORDER BY 2, 3'),
  ]);
  return {
    counters: Object.fromEntries(counters.map(({id, n}) => [id, n])),
    lastMutationIDs: Object.fromEntries(clients.map(({c, id}) => [c, id])),
    stored,
  };
}

describe('mutations', () => {
  test('run in order and pass the last mutation id', async () => {
    const response = await push(body(add(1), add(2, 10), {...add(1, 5), clientID: 'c2'}));
    expect(results(response)).toEqual([answer(1), answer(2), answer(1, {}, 'c2')]);
    expect(await state()).toEqual({counters: {x: 16}, lastMutationIDs: {c1: 2, c2: 1}, stored: []});
  });

  test('know who and which they are', async () => {
    await push(body({id: 1, name: 'counter.whoAmI', arg: {id: 'w'}}));
    expect((await state()).counters).toEqual({'w-u1-c1': 1});
  });

  test('without an argument have undefined, as in the page', async () => {
    const seen: unknown[] = [];
    await push(body({id: 1, name: 'counter.none'}), {
      handler: transact => transact(async (_tx, _name, args) => void seen.push(args)),
    });
    expect(seen).toEqual([undefined]);
  });

  test('that come again are answered as processed and change nothing', async () => {
    await push(body(add(1), add(2)));
    const again = results(await push(body(add(1), add(2), add(3))));
    expect(again).toMatchObject([
      answer(1, {error: 'alreadyProcessed'}),
      answer(2, {error: 'alreadyProcessed'}),
      answer(3),
    ]);
    expect(await state()).toMatchObject({counters: {x: 3}, lastMutationIDs: {c1: 3}});
  });

  test('that skip one end the push', async () => {
    const response = await push(body(add(1), add(3), add(4)));
    expect(response).toEqual({
      kind: 'PushFailed',
      origin: 'server',
      reason: 'oooMutation',
      message: 'Client c1 sent mutation ID 3 but expected 2',
      mutationIDs: [
        {clientID: 'c1', id: 3},
        {clientID: 'c1', id: 4},
      ],
    });
    expect(await state()).toMatchObject({counters: {x: 1}, lastMutationIDs: {c1: 1}});
  });

  test('sent twice at the same time run once', async () => {
    const same = body(add(1), add(2), add(3));
    await Promise.all([push(same), push(same), push(same), push(same)]);
    expect(await state()).toMatchObject({counters: {x: 3}, lastMutationIDs: {c1: 3}, stored: []});
  });
});

describe('a mutator that throws', () => {
  const error = {error: 'app', message: 'not today', details: {code: 7}};

  test('is rolled back, its id passes with the stored error, and the next ones run', async () => {
    const response = await push(body(add(1), fail(2), add(3)));
    expect(results(response)).toEqual([answer(1), answer(2, error), answer(3)]);
    expect(await state()).toEqual({
      counters: {x: 2},
      lastMutationIDs: {c1: 3},
      stored: [{g: 'g1', c: 'c1', id: 2, result: error}],
    });
  });

  test('is shown on the console with its stack, by its message alone to the client', async () => {
    const warned = vi.spyOn(console, 'warn').mockImplementation(() => {});
    const thrown = new Error('no', {cause: 'secret'});
    const how = {logLevel: 'warn', handler: transact => transact(() => { throw thrown; })} satisfies Parameters<typeof push>[1];
    expect(results(await push(body(add(1)), how))).toEqual([answer(1, {error: 'app', message: 'no'})]);
    expect(results(await push(body(add(2)), {...how, handler: () => { throw thrown; }}))).toEqual([answer(2, {error: 'app', message: 'no'})]);
    expect(warned.mock.calls).toEqual([
      ['landfall: mutator counter.add failed: no', thrown],
      ['landfall: the handler of counter.add failed: no', thrown],
    ]);
    warned.mockRestore();
  });

  test('is an app error too when it is unknown, or when SQL refuses its writes', async () => {
    const response = await push(body({id: 1, name: 'counter.nope'}, {id: 2, name: 'counter.add', arg: {id: 'x', n: 1.5}}));
    expect(results(response)).toMatchObject([
      answer(1, {error: 'app', message: 'Mutator not found: counter.nope'}),
      answer(2, {error: 'app', message: 'invalid input syntax for type integer: "1.5"'}),
    ]);
    expect(await state()).toMatchObject({counters: {}, lastMutationIDs: {c1: 2}});
  });

  test('only when it commits fails alike', async () => {
    await database.sql(`
      CREATE TABLE deferred (id int UNIQUE DEFERRABLE INITIALLY DEFERRED);
      INSERT INTO deferred VALUES (1)`);
    const response = await push(body(add(1)), {
      handler: transact => transact(async tx => void (await tx.dbTransaction.query('INSERT INTO deferred VALUES (1)', []))),
    });
    expect(results(response)).toMatchObject([answer(1, {error: 'app', message: expect.stringContaining('duplicate key')})]);
    expect((await state()).stored).toMatchObject([{id: 1, result: {error: 'app', message: expect.stringContaining('duplicate key')}}]);
  });
});

describe('a handler that throws', () => {
  test('before its transaction: the id passes with the stored error', async () => {
    const response = await push(body(add(1), add(2)), {
      handler: (transact, mutation) => {
        if (mutation.id === 1) {
          throw new Error('forbidden');
        }
        return handler(transact, mutation);
      },
    });
    expect(results(response)).toEqual([answer(1, {error: 'app', message: 'forbidden'}), answer(2)]);
    expect(await state()).toMatchObject({counters: {x: 1}, lastMutationIDs: {c1: 2}, stored: [{id: 1}]});
  });

  test('after its transaction: the write stays, nothing is stored', async () => {
    const response = await push(body(add(1)), {
      handler: async (transact, mutation) => {
        await handler(transact, mutation);
        throw new Error('too late');
      },
    });
    expect(results(response)).toEqual([answer(1, {error: 'app', message: 'too late'})]);
    expect(await state()).toMatchObject({counters: {x: 1}, lastMutationIDs: {c1: 1}, stored: []});
  });

  test('or never opens its transaction: an app error, so that the client does not wait for ever', async () => {
    const response = await push(body(add(1)), {handler: async () => answer(1)});
    expect(results(response)).toMatchObject([answer(1, {error: 'app'})]);
    expect(await state()).toMatchObject({counters: {}, lastMutationIDs: {c1: 1}});
  });
});

describe('the database', () => {
  test('without bookkeeping tables fails the push and leaves the mutations to come again', async () => {
    const response = await push(body(add(1), add(2)), {query: {schema: 'nowhere_0', appID: 'zero'}});
    expect(response).toMatchObject({
      kind: 'PushFailed',
      origin: 'server',
      reason: 'database',
      mutationIDs: [
        {clientID: 'c1', id: 1},
        {clientID: 'c1', id: 2},
      ],
    });
    expect(await state()).toMatchObject({counters: {}, lastMutationIDs: {}});
  });

  test('that cannot be reached does too', async () => {
    const url = new URL(database.url);
    url.port = '1';
    const response = await push(body(add(1)), {dbProvider: zeroNodePg(schema, url.href)});
    expect(response).toMatchObject({kind: 'PushFailed', reason: 'database', mutationIDs: [{clientID: 'c1', id: 1}]});
  });

  test('that does not fit the schema fails the push as internal', async () => {
    const other = createSchema({tables: [table('missing').columns({id: string()}).primaryKey('id')]});
    const response = await push(body(add(1)), {dbProvider: zeroNodePg(other, database.pool)});
    expect(response).toMatchObject({kind: 'PushFailed', reason: 'internal', message: expect.stringContaining('public.missing')});
    expect(await state()).toMatchObject({lastMutationIDs: {}});
  });

  test('that drops the connection gets the mutation again, once', async () => {
    let killed = 0;
    const response = await push(body(add(1)), {
      handler: transact =>
        transact(async (tx, name, args) => {
          await mustGetMutator(mutators, name).fn({tx, args, ctx: undefined});
          if (killed++ === 0) {
            await tx.dbTransaction.query('SELECT pg_terminate_backend(pg_backend_pid())', []);
          }
        }),
    });
    expect(results(response)).toEqual([answer(1)]);
    expect(killed).toBe(2);
    expect(await state()).toMatchObject({counters: {x: 1}, lastMutationIDs: {c1: 1}, stored: []});
  });

  test('whose answer to COMMIT is lost still runs the mutation once', async () => {
    let lost = 0;
    const dbProvider: Database<any> = {
      async transaction(callback, input) {
        const result = await db.transaction(callback, input);
        if (lost++ === 0) {
          throw Object.assign(new Error('read ECONNRESET'), {code: 'ECONNRESET'});
        }
        return result;
      },
    };
    const response = await push(body(add(1)), {dbProvider});
    expect(results(response)).toMatchObject([answer(1, {error: 'alreadyProcessed'})]);
    expect(await state()).toMatchObject({counters: {x: 1}, lastMutationIDs: {c1: 1}, stored: []});
  });
});

describe('stored results', () => {
  const cleanup = (arg: {}): Call => ({id: 0, name: '_zero_cleanupResults', arg});

  test('are deleted up to an id, or for whole clients, without an entry in the answer', async () => {
    await push(body(fail(1), fail(2), fail(3), {...fail(1), clientID: 'c2'}, {...fail(1), clientID: 'c3'}));
    const single = {type: 'single', clientGroupID: 'g1', clientID: 'c1', upToMutationID: 2};
    expect(results(await push(body(cleanup(single))))).toEqual([]);
    expect((await state()).stored.map(({c, id}) => `${c}/${id}`)).toEqual(['c1/3', 'c2/1', 'c3/1']);
    await push(body(cleanup({type: 'bulk', clientGroupID: 'g1', clientIDs: ['c1', 'c3']})));
    expect((await state()).stored.map(({c}) => c)).toEqual(['c2']);
    expect((await state()).lastMutationIDs).toEqual({c1: 3, c2: 1, c3: 1});
    await push(body(cleanup({clientGroupID: 'g1', clientID: 'c2', upToMutationID: 9})));
    expect((await state()).stored).toEqual([]);
  });

  test('of another group, or described badly, stay', async () => {
    await push(body(fail(1)));
    const foreign = {...body(cleanup({type: 'bulk', clientGroupID: 'g1', clientIDs: ['c1']})), clientGroupID: 'g2'};
    expect(results(await push(foreign))).toEqual([]);
    expect(results(await push(body(cleanup({type: 'what', clientGroupID: 'g1'}))))).toEqual([]);
    expect((await state()).stored).toHaveLength(1);
  });
});

describe('a request that cannot be read', () => {
  const good = body(add(1));
  const cases: [string, unknown, {}, string][] = [
    ['no object', 'x', query, 'Expected an object at the body'],
    ['no group', {...good, clientGroupID: undefined}, query, 'clientGroupID'],
    ['mutations no list', {...good, mutations: {}}, query, 'Expected a list at mutations'],
    ['a CRUD mutation', {...good, mutations: [{...good.mutations[0], type: 'crud'}]}, query, 'mutations[0].type'],
    ['a negative id', body(add(-1)), query, 'mutations[0].id'],
    ['args no list', {...good, mutations: [{...good.mutations[0], args: 'x'}]}, query, 'mutations[0].args'],
    ['no schema', good, {appID: 'zero'}, '"schema" is missing'],
    ['no app', good, {schema: 'zero_0'}, '"appID" is missing'],
  ];
  test.each(cases)('%s', async (_name, bad, params, message) => {
    const response = await push(bad, {query: params});
    expect(response).toMatchObject({kind: 'PushFailed', origin: 'server', reason: 'parse'});
    expect('message' in response && response.message).toContain(message);
    expect(await state()).toEqual({counters: {}, lastMutationIDs: {}, stored: []});
  });

  test('names the mutations that it recognises', async () => {
    const response = await push({...body(add(1), add(2)), timestamp: 'x'});
    expect(response).toMatchObject({reason: 'parse', mutationIDs: [{id: 1}, {id: 2}]});
  });

  test('an unknown push version', async () => {
    const response = await push({...good, pushVersion: 2});
    expect(response).toMatchObject({kind: 'PushFailed', reason: 'unsupportedPushVersion', mutationIDs: [{id: 1}]});
  });
});

describe('the other forms', () => {
  test('a Request, with its parameters in the URL', async () => {
    const post = (text: string) =>
      new Request('http://app/api/mutate?schema=zero_0&appID=zero', {method: 'POST', body: text});
    const request = post(JSON.stringify(body(add(1))));
    const response = await handleMutateRequest({dbProvider: db, handler, userID: null, request, logLevel: 'error'});
    expect(response).toEqual({kind: 'MutateResponse', mutations: [answer(1)], userID: null});
    const broken = await handleMutateRequest({dbProvider: db, handler, userID: null, request: post('{'), logLevel: 'error'});
    expect(broken).toMatchObject({kind: 'PushFailed', reason: 'parse', mutationIDs: []});
  });

  test('positional arguments answer without the user', async () => {
    expect(await handleMutateRequest(db, handler, new URLSearchParams(query), body(add(1)), 'error')).toEqual({
      kind: 'MutateResponse',
      mutations: [answer(1)],
    });
  });

  test('PushProcessor finds mutators in a registry and in a tree of functions', async () => {
    const processor = new PushProcessor(db, {userID: 'p'}, 'error');
    await processor.process(mutators, query, body({id: 1, name: 'counter|whoAmI', arg: {id: 'w'}}));
    const tree = {counter: {set: async (tx: any, args: {id: string; n: number}) => tx.mutate.counter.upsert(args)}};
    await processor.process(tree, query, body({id: 2, name: 'counter|set', arg: {id: 's', n: 4}}));
    expect((await state()).counters).toEqual({'w-p-c1': 1, s: 4});
    const missing = await processor.process(tree, query, body({id: 3, name: 'counter|toString'}));
    expect(missing).toMatchObject({
      mutations: [answer(3, {error: 'app', message: 'could not find mutator counter|toString'})],
    });
  });
});
