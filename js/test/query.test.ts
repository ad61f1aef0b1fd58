import {readFileSync, writeFileSync} from 'node:fs';
import {fileURLToPath} from 'node:url';
import {expect, test} from 'vitest';
import {type AnyQuery, createBuilder, escapeLike, type SchemaQuery} from '../src/index.js';
import {builderFor} from '../src/query/create-builder.js';
import {asQueryInternals} from '../src/query/internals.js';
import {clientToServer, mapAST} from '../src/query/map-ast.js';
import {queryEnvironment} from '../src/query/query-impl.js';
import {type Description, describedQuery, wideJSON} from './described-query.js';
import {queryCases} from './query-cases.js';
import {schema, type TestSchema} from './schema.js';

const zql = createBuilder(schema);

/** Queries as data, with what the builders of all languages make of them; `UPDATE_CASES=1` writes the latter anew. */
const casesFile = fileURLToPath(new URL('../../tests/cases/builder.json', import.meta.url));

interface Cases {
  readonly cases: readonly {readonly name: string; readonly query: Description}[];
  readonly refused: readonly {readonly query: Description; readonly error: string}[];
}

const {cases, refused: refusedCases} = JSON.parse(readFileSync(casesFile, 'utf8')) as Cases;

function built(query: AnyQuery): object {
  const internals = asQueryInternals(query);
  const {ast, format} = internals;
  // Queries with parameters have no hash until these are bound.
  const hasParameters = JSON.stringify(ast).includes('"type":"static"');
  const serverAST = mapAST(ast, clientToServer(schema));
  return JSON.parse(JSON.stringify({ast, serverAST, format, hash: hasParameters ? null : internals.hash()}));
}

test('queries have the ASTs, formats and hashes on record', () => {
  const now = cases.map(({name, query}) => ({name, query, ...built(describedQuery(zql, query))}));
  const document = JSON.parse(JSON.stringify({schema, cases: now, refused: refusedCases}));
  if (process.env.UPDATE_CASES) {
    writeFileSync(casesFile, `${wideJSON(document)}\n`);
  }
  expect(document).toEqual(JSON.parse(readFileSync(casesFile, 'utf8')));
});

test('the descriptions say what the code says', () => {
  expect(Object.keys(queryCases)).toEqual(cases.map(({name}) => name));
  for (const {name, query} of cases) {
    expect(built(queryCases[name]!(zql)), name).toEqual(built(describedQuery(zql, query)));
  }
});

test.each(refusedCases)('refused: $error', ({query, error}) => {
  expect(messageOf(() => describedQuery(zql, query))).toBe(error);
});

function messageOf(build: () => unknown): string | undefined {
  try {
    build();
  } catch (thrown) {
    return (thrown as Error).message;
  }
  return undefined;
}

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
  'orderBy needs a direction, "asc" or "desc", not "up".': () => untyped.issue.orderBy('id', 'up'),
  'A query can compare with text, finite numbers and booleans, not with NaN.': () => zql.issue.where('rank', Number.NaN),
  'A query can compare with text, finite numbers and booleans, not with Infinity.': () => zql.issue.start({rank: Infinity}),
  'A query can compare with text, finite numbers and booleans, not with bigint.': () => zql.issue.start({rank: 1n as never}),
  'A query can compare with text, finite numbers and booleans, not with object.': () =>
    untyped.issue.where('created', '>', new Date(0)),
  'Limit must be non-negative': () => zql.issue.limit(-1),
  'Limit must be an integer': () => zql.issue.limit(1.5),
  'Not a query: expected one made by createBuilder or by a registry of queries.': () =>
    untyped.issue.related('comments', () => ({})),
  'Query is not runnable': () => zql.issue.run(),
};

test.each(Object.entries(refused))('refused: %s', (message, build) => {
  expect(messageOf(build)).toBe(message);
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
