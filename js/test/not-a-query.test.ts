/** What is said to who asks for something that is no query, wherever it is asked. */
import {expect, test} from 'vitest';
import {createBuilder, defineMutators, defineMutatorWithType, defineQueries, defineQueryWithType, Zero} from '../src/index.js';
import {schema, type TestSchema} from './schema.js';

const zql = createBuilder(schema);
const definition = defineQueryWithType<TestSchema>()(() => zql.label);
const queries = defineQueries({labels: definition, none: defineQueryWithType<TestSchema>()((() => undefined) as never)});

const notQuery = 'Not a query: expected one made by createBuilder or by a registry of queries.';
const given: readonly (readonly [what: string, query: unknown, message: string])[] = [
  ['undefined', undefined, notQuery],
  ['an object', {}, notQuery],
  ['a name', 'labels', notQuery],
  ['a request made by hand', {query: zql.label}, notQuery],
  ['a definition', definition, notQuery],
  ['a registry', queries, notQuery],
  ['a promise', Promise.resolve(zql.label), notQuery],
  ['what a function gave that gives no query', queries.none(), notQuery],
  ['a named query that was not called', queries.labels, 'The named query "labels" has to be called to ask for it.'],
];

let asked: unknown;
const mutators = defineMutators({
  ask: defineMutatorWithType<TestSchema>()(async ({tx}: {tx: any}) => {
    await tx.run(asked);
  }),
});

test.each(given)('%s is refused by everything that takes a query', async (_, query, message) => {
  const zero = new Zero<TestSchema, any, unknown>({schema, mutators, userID: 'u1', kvStore: 'mem', cacheURL: null, logLevel: 'error', logSink: {log: () => {}}});
  const refused = new TypeError(message);
  expect(() => zero.run(query as never)).toThrow(refused);
  expect(() => zero.run(query as never, {type: 'complete'})).toThrow(refused);
  expect(() => zero.materialize(query as never)).toThrow(refused);
  expect(() => zero.materialize(query as never, (() => {}) as never)).toThrow(refused);
  expect(() => zero.preload(query as never)).toThrow(refused);
  expect(() => zero.viewStore(query as never)).toThrow(refused);
  await expect(zero.analyzeQuery(query as never)).rejects.toThrow(refused);
  asked = query;
  const answer = await (zero.mutate(mutators.ask() as never) as any).client;
  expect(answer).toMatchObject({type: 'error', error: {message}});
  await zero.close();
});

test('a view store takes the request of a named query', async () => {
  const zero = new Zero<TestSchema, any, unknown>({schema, mutators, userID: 'u1', kvStore: 'mem', cacheURL: null});
  expect(zero.viewStore(queries.labels())).toBe(zero.viewStore(queries.labels()));
  await zero.close();
});
