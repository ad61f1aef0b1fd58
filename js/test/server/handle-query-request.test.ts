import {beforeEach, describe, expect, test, vi} from 'vitest';
import {ApplicationError} from '../../src/application-error.js';
import {createBuilder} from '../../src/query/create-builder.js';
import {defineQueriesWithType, defineQueryWithType, mustGetQuery} from '../../src/query/query-registry.js';
import {number, string} from '../../src/schema/column.js';
import {createSchema} from '../../src/schema/schema.js';
import {table} from '../../src/schema/table.js';
import {handleQueryRequest, type QueryHandler} from '../../src/server/index.js';

const issue = table('issue')
  .from('app.issues')
  .columns({id: string(), n: number().from('number')})
  .primaryKey('id');
const vote = table('vote')
  .columns({user: string(), issue: string().from('issue_id')})
  .primaryKey('user', 'issue');
const schema = createSchema({tables: [issue, vote]});
const zql = createBuilder(schema);
const foreign = createBuilder(createSchema({tables: [table('other').columns({id: string()}).primaryKey('id')]}));

type Context = {readonly userID: string};
const defineQuery = defineQueryWithType<typeof schema, Context>();
const validator = {
  '~standard': {
    version: 1 as const,
    vendor: 'test',
    validate: (value: unknown) =>
      typeof value === 'number' ? {value} : {issues: [{message: 'a number, please', path: ['n']}]},
  },
};
const queries = defineQueriesWithType<typeof schema>()({
  issues: {
    above: defineQuery(validator as never, ({args}: {args: number}) => zql.issue.where('n', '>', args)),
    all: defineQuery(() => zql.issue.orderBy('n', 'desc')),
    votes: defineQuery(() => zql.vote.orderBy('issue', 'desc')),
    forbidden: defineQuery(({ctx}) => {
      throw new ApplicationError(`not for ${ctx.userID}`, {details: {code: 1}});
    }),
    none: defineQuery(() => zql.issue.where(({or}) => or())),
    odd: defineQuery(({args}: {args: 'error' | 'object'}) => {
      throw args === 'error' ? Object.assign(new TypeError('odd'), {details: [1]}) : {message: 'bare', code: 7};
    }),
  },
});

const handler: QueryHandler = (name, args) =>
  mustGetQuery(queries, name).fn({args, ctx: {userID: 'u1'}} as never) as never;

const ask = (body: unknown, how: QueryHandler = handler) =>
  handleQueryRequest({handler: how, schema, userID: 'u1', body, logLevel: 'error'});
const wanted = (...list: [name: string, ...args: unknown[]][]) => [
  'transform',
  list.map(([name, ...args], i) => ({id: `q${i}`, name, args})),
];

// What goes wrong here on purpose is reported; keep the report of the tests readable.
beforeEach(() => {
  const silenced = vi.spyOn(console, 'error').mockImplementation(() => {});
  return () => silenced.mockRestore();
});

describe('handleQueryRequest', () => {
  test('tells in which order the columns of a compound key come', async () => {
    const {queries} = (await ask(wanted(['issues.votes']))) as unknown as {queries: unknown[]};
    expect(queries).toMatchObject([{ast: {table: 'vote', orderBy: [['issue_id', 'desc'], ['user', 'asc']]}}]);
  });

  test('answers with ASTs in server names, FALSE kept', async () => {
    expect(await ask(wanted(['issues.above', 3], ['issues.all'], ['issues.none']))).toEqual({
      kind: 'QueryResponse',
      userID: 'u1',
      queries: [
        {
          id: 'q0',
          name: 'issues.above',
          ast: {
            table: 'app.issues',
            where: {
              type: 'simple',
              left: {type: 'column', name: 'number'},
              op: '>',
              right: {type: 'literal', value: 3},
            },
          },
        },
        {id: 'q1', name: 'issues.all', ast: {table: 'app.issues', orderBy: [['number', 'desc']]}},
        {id: 'q2', name: 'issues.none', ast: {table: 'app.issues', where: {type: 'or', conditions: []}}},
      ],
    });
  });

  test('answers the empty question that checks the user', async () => {
    expect(await ask(['transform', []])).toEqual({kind: 'QueryResponse', queries: [], userID: 'u1'});
  });

  test('a query that fails takes no other with it', async () => {
    const response = await ask(wanted(['issues.forbidden'], ['nope'], ['issues.above', 'x'], ['issues.all']));
    expect(response).toMatchObject({
      kind: 'QueryResponse',
      queries: [
        {error: 'app', id: 'q0', name: 'issues.forbidden', message: 'not for u1', details: {code: 1}},
        {error: 'app', id: 'q1', name: 'nope', message: 'Query not found: nope'},
        {
          error: 'app',
          id: 'q2',
          message: 'Validation failed for query issues.above: a number, please',
          details: {type: 'InputValidationError'},
        },
        {id: 'q3', ast: {table: 'app.issues'}},
      ],
    });
  });

  test('whatever a query throws, its message and details are told', async () => {
    const response = await ask(wanted(['issues.odd', 'error'], ['issues.odd', 'object']));
    expect(response).toMatchObject({
      queries: [
        {error: 'app', message: 'odd', details: [1]},
        {error: 'app', message: 'bare', details: {message: 'bare', code: 7}},
      ],
    });
  });

  test('the console shows what a query threw, with its stack', async () => {
    const warned = vi.spyOn(console, 'warn').mockImplementation(() => {});
    const thrown = new Error('no table', {cause: 'a typo'});
    const body = wanted(['issues.all']);
    await handleQueryRequest({handler: () => { throw thrown; }, schema, userID: 'u1', body, logLevel: 'warn'});
    expect(warned.mock.calls).toEqual([['landfall: query issues.all failed: no table', thrown]]);
    warned.mockRestore();
  });

  test('a query over tables that the schema lacks fails the request', async () => {
    expect(await ask(wanted(['x']), () => foreign.other as never)).toMatchObject({
      kind: 'TransformFailed',
      origin: 'server',
      reason: 'internal',
      message: expect.stringContaining('unknown table "other"'),
      queryIDs: ['q0'],
    });
  });

  test.each([
    ['no list', {}, []],
    ['another tag', ['other', []], []],
    ['no list of queries', ['transform', 'x'], []],
    ['args no list', ['transform', [{id: 'q0', name: 'a', args: {}}]], ['q0']],
    ['a name that is no string', ['transform', [{id: 'q0', name: 1, args: []}, null]], ['q0']],
  ])('refuses %s', async (_name, body, queryIDs) => {
    expect(await ask(body)).toMatchObject({kind: 'TransformFailed', origin: 'server', reason: 'parse', queryIDs});
  });

  test('takes a Request, and positional arguments', async () => {
    const request = (body: string) => new Request('http://app/api/query', {method: 'POST', body});
    expect(
      await handleQueryRequest({
        handler,
        schema,
        userID: undefined,
        request: request(JSON.stringify(wanted(['issues.all']))),
      }),
    ).toMatchObject({kind: 'QueryResponse', userID: null, queries: [{id: 'q0'}]});
    expect(await handleQueryRequest(handler, schema, request('{'), 'error')).toMatchObject({reason: 'parse'});
    expect(await handleQueryRequest(handler, schema, wanted(['issues.all']), 'error')).toEqual({
      kind: 'QueryResponse',
      queries: [{id: 'q0', name: 'issues.all', ast: {table: 'app.issues', orderBy: [['number', 'desc']]}}],
    });
  });
});
