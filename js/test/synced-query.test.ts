import {expect, test} from 'vitest';
import {createBuilder, type Query, syncedQuery, syncedQueryWithContext, withValidation, Zero} from '../src/index.js';
import {asQueryInternals} from '../src/query/internals.js';
import type {AnyQuery} from '../src/query/query.js';
import {handleGetQueriesRequest, handleTransformRequest} from '../src/server/index.js';
import {schema, type TestSchema} from './schema.js';

const zql = createBuilder(schema);

function pair(args: unknown[]): [string, number] {
  const [title, rank] = args;
  if (args.length !== 2 || typeof title !== 'string' || typeof rank !== 'number') {
    throw new TypeError('a title and a rank are wanted');
  }
  return [title, rank];
}

const titled = syncedQuery('titled', pair, (title, rank) => zql.issue.where('title', title).where('rank', '>', rank));
const mine = syncedQueryWithContext('mine', {parse: pair}, (ctx: {userID: string}, title, _rank) =>
  zql.issue.where('ownerID', ctx.userID).where('title', title).one(),
);
const free = syncedQuery('free', undefined, () => zql.user);

test('a query has its name and all its arguments, which only a server parses', () => {
  const internals = (query: AnyQuery) => asQueryInternals(query);
  expect(internals(titled('a', 1)).customQueryID).toEqual({name: 'titled', args: ['a', 1]});
  expect(internals(titled('a', 1)).ast).toEqual(internals(zql.issue.where('title', 'a').where('rank', '>', 1)).ast);
  expect(internals(mine({userID: 'u'}, 'a', 1)).customQueryID).toEqual({name: 'mine', args: ['a', 1]});
  expect([titled.queryName, titled.takesContext, mine.takesContext]).toEqual(['titled', false, true]);
  // @ts-expect-error a page may send anything
  expect(() => titled('a')).not.toThrow();
});

test('validation takes the context first, and says what did not parse', () => {
  const [first, second] = [withValidation(titled), withValidation(mine)];
  expect(asQueryInternals(first(undefined, 'a', 1)).customQueryID?.args).toEqual(['a', 1]);
  expect(asQueryInternals(second({userID: 'u'}, 'a', 1)).customQueryID?.args).toEqual(['a', 1]);
  expect(() => first(undefined, 1)).toThrow('a title and a rank are wanted');
  expect([first.queryName, first.takesContext]).toEqual(['titled', true]);
  expect(() => withValidation(free)).toThrow('The query free was defined without a parser.');
});

test('a client runs it as any named query', async () => {
  const zero = new Zero<TestSchema, undefined, unknown>({schema, userID: 'u1', logLevel: 'error'});
  expect(await zero.run(titled('a', 1))).toEqual([]);
  expect(await zero.run(mine({userID: 'u1'}, 'a', 1))).toBeUndefined();
  await zero.close();
});

test('an endpoint answers with all arguments, and tells what did not parse from what else failed', async () => {
  const known: {readonly [name: string]: (context: any, ...args: any[]) => AnyQuery} = {
    titled: withValidation(titled),
    mine: withValidation(mine),
  };
  const body = ['transform', [
    {id: '1', name: 'titled', args: ['a', 1]},
    {id: '2', name: 'mine', args: ['a', 1]},
    {id: '3', name: 'titled', args: ['a']},
    {id: '4', name: 'unknown', args: []},
  ]];
  const answer = (name: string, args: readonly unknown[]) => {
    const query = known[name];
    if (query === undefined) {
      throw new Error(`no query ${name}`);
    }
    return query({userID: 'u'}, ...args);
  };
  const expected = {
    kind: 'QueryResponse',
    queries: [
      {id: '1', name: 'titled', ast: {table: 'issues'}},
      {id: '2', name: 'mine', ast: {table: 'issues', limit: 1}},
      {error: 'parse', id: '3', name: 'titled', message: expect.stringContaining('a title and a rank are wanted')},
      {error: 'app', id: '4', name: 'unknown', message: 'no query unknown'},
    ],
  };
  const inObjects = await handleGetQueriesRequest((name, args) => ({query: answer(name, args)}), schema, body, 'error');
  expect(inObjects).toMatchObject(expected);
  expect(inObjects).not.toHaveProperty('userID');
  expect(await handleTransformRequest(answer, schema, body, 'error')).toEqual(inObjects);
});

// Types alone.
export function typed(): unknown[] {
  const query: Query<'issue', TestSchema, any> = titled('a', 1);
  const parsed: AnyQuery = withValidation(titled)(undefined, 'a', 1);
  const name: 'titled' = titled.queryName;
  // @ts-expect-error the rank is a number
  titled('a', 'b');
  // @ts-expect-error the context is missing
  mine('a', 1);
  return [query, parsed, name];
}
