import {existsSync, readFileSync, writeFileSync} from 'node:fs';
import {fileURLToPath} from 'node:url';
import {expect, test} from 'vitest';
import {createBuilder, escapeLike, type SchemaQuery} from '../src/index.js';
import {builderFor} from '../src/query/create-builder.js';
import {asQueryInternals} from '../src/query/internals.js';
import {clientToServer, mapAST} from '../src/query/map-ast.js';
import {queryEnvironment} from '../src/query/query-impl.js';
import {queryCases} from './query-cases.js';
import {schema, type TestSchema} from './schema.js';

const zql = createBuilder(schema);

/** The cases as data, for engines in other languages to read; `UPDATE_CASES=1` writes them anew. */
const casesFile = fileURLToPath(new URL('../../tests/cases/builder.json', import.meta.url));

function recorded(): unknown {
  const cases = Object.entries(queryCases).map(([name, build]) => {
    const {ast, format, hash} = asQueryInternals(build(zql));
    return {name, ast, serverAST: mapAST(ast, clientToServer(schema)), format, hash: hash()};
  });
  return JSON.parse(JSON.stringify({schema, cases}));
}

test('queries have the ASTs, formats and hashes on record', () => {
  const now = recorded();
  if (process.env.UPDATE_CASES || !existsSync(casesFile)) {
    writeFileSync(casesFile, `${JSON.stringify(now, null, 2)}\n`);
  }
  expect(now).toEqual(JSON.parse(readFileSync(casesFile, 'utf8')));
});

test('every method leaves its query as it was', () => {
  const before = JSON.stringify(asQueryInternals(zql.issue));
  for (const build of Object.values(queryCases)) {
    build(zql);
  }
  expect(JSON.stringify(asQueryInternals(zql.issue))).toBe(before);
});

test('a builder has its tables and nothing else', () => {
  const builder = createBuilder(schema) as unknown as {readonly [name: PropertyKey]: unknown};
  expect(Object.keys(builder)).toEqual(['user', 'issue', 'comment', 'label', 'issueLabel']);
  for (const name of ['nope', 'toString', 'constructor', '$$typeof', Symbol.iterator]) {
    expect(builder[name]).toBeUndefined();
  }
});

test('escapeLike escapes the wildcards and not the backslash', () => {
  expect(escapeLike('100%_\\')).toBe('100\\%\\_\\');
});

test('queries that share a view have the same key, others do not', () => {
  const key = (query: Parameters<typeof asQueryInternals>[0]) => asQueryInternals(query).viewKey();
  expect(key(zql.issue.where('open', true))).toBe(key(zql.issue.where('open', true)));
  const keys = [
    zql.issue,
    zql.issue.limit(1),
    zql.issue.one(),
    zql.issue.where(({or}) => or()),
    zql.issue.related('comments', q => q.limit(1)),
    zql.issue.related('comments', q => q.one()),
  ].map(key);
  expect(new Set(keys).size).toBe(keys.length);
});

// The builder at run time, as JavaScript without types reaches it.
const untyped = zql as any;

const refused: {readonly [message: string]: () => unknown} = {
  'Invalid condition. Too few arguments.': () => untyped.issue.where('open'),
  'Unknown column "nope" of table "issue" in where': () => untyped.issue.where('nope', 1),
  'Unknown column "toString" of table "issue" in where': () => untyped.issue.where('toString', 1),
  'Unknown column "nope" of table "issue" in orderBy': () => untyped.issue.orderBy('nope', 'asc'),
  'Unknown column "nope" of table "issue" in start': () => untyped.issue.start({nope: 1}),
  'Unknown column "title" of table "comment" in where': () =>
    untyped.issue.related('comments', (q: any) => q.where('title', 'x')),
  'Unknown operator "==" for column "open" of table "issue"': () => untyped.issue.where('open', '==', true),
  'orderBy needs a direction, "asc" or "desc", not "up".': () => untyped.issue.orderBy('id', 'up'),
  'The IN operator needs an array, not a string.': () => untyped.issue.where('kind', 'IN', 'bug'),
  'A query can compare with text, finite numbers and booleans, not with NaN.': () => zql.issue.where('rank', Number.NaN),
  'A query can compare with text, finite numbers and booleans, not with object.': () =>
    untyped.issue.where('created', '>', new Date(0)),
  'A query can compare with text, finite numbers and booleans, not with null.': () =>
    untyped.issue.where('rank', 'IN', [1, null]),
  'Invalid relationship "nope" of table "issue"': () => untyped.issue.related('nope'),
  'Invalid relationship "owner" of table "label"': () => untyped.label.whereExists('owner'),
  'Relationship names may not start with "zsubq_". That is a reserved prefix.': () => untyped.issue.related('zsubq_x'),
  'Limit must be non-negative': () => zql.issue.limit(-1),
  'Limit must be an integer': () => zql.issue.limit(1.5),
  'EXISTS subqueries must not have start (exists("comments") of table "issue")': () =>
    zql.issue.whereExists('comments', q => q.start({id: 'x'})),
  'EXISTS subqueries must not have related (exists("comments") of table "issue")': () =>
    zql.issue.whereExists('comments', q => q.related('author')),
  'Not a query: expected one made by createBuilder or by a registry of queries.': () =>
    untyped.issue.related('comments', () => ({})),
  'Query is not runnable': () => zql.issue.run(),
};

test.each(Object.entries(refused))('refused: %s', (message, build) => {
  let error: unknown;
  try {
    build();
  } catch (thrown) {
    error = thrown;
  }
  expect((error as Error | undefined)?.message).toBe(message);
});

test('1.5 and 2 ** 31 are no limits, 0 and 2 ** 31 - 1 are', () => {
  expect(() => zql.issue.limit(2 ** 31)).toThrow('Limit must be an integer');
  expect(asQueryInternals(zql.issue.limit(2 ** 31 - 1)).ast.limit).toBe(2 ** 31 - 1);
  expect(asQueryInternals(zql.issue.limit(0)).ast.limit).toBe(0);
});

test('names of the server are used where the schema gives them, and unknown ones are refused', () => {
  const mapper = clientToServer(schema);
  expect(() => mapAST({table: 'nope'}, mapper)).toThrow(new Error('unknown table "nope" '));
  expect(() => mapAST({table: 'issue', orderBy: [['nope', 'asc']]}, mapper)).toThrow(
    new Error('unknown column "nope" of "issue" table '),
  );
});

test('what the engine cannot run is refused when the query is built', () => {
  const none = {exists: false, notExists: false, junctions: false};
  const narrow: SchemaQuery<TestSchema> = builderFor(schema, queryEnvironment(schema, {support: none}));
  expect(() => narrow.issue.whereExists('comments')).toThrow(
    'This version of Landfall cannot run exists and whereExists yet (exists("comments") of table "issue").',
  );
  expect(() => narrow.issue.related('labels')).toThrow(
    'This version of Landfall cannot run relationships through a junction table yet (related("labels") of table "issue").',
  );
  const semi: SchemaQuery<TestSchema> = builderFor(schema, queryEnvironment(schema, {support: {...none, exists: true}}));
  expect(() => semi.issue.where(({not, exists}) => not(exists('comments')))).toThrow(
    'This version of Landfall cannot run not(exists(…)) yet (where of table "issue").',
  );
});

test('queries of an environment with a runner can be run', async () => {
  const ran: unknown[] = [];
  const runner = {
    run: async (query: unknown, options: unknown) => {
      ran.push([query, options]);
      return ['row'];
    },
  };
  const runnable: SchemaQuery<TestSchema> = builderFor(schema, queryEnvironment(schema, {runner}));
  const query = runnable.issue.where('open', true);
  expect(await query.run({type: 'unknown'})).toEqual(['row']);
  expect(ran).toEqual([[query, {type: 'unknown'}]]);
  expect(() => query.preload()).toThrow('Query is not runnable');
});
