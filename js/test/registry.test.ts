import {expect, test, vi} from 'vitest';
import {z} from 'zod';
import {
  type AnyTransaction,
  ApplicationError,
  createBuilder,
  defineMutators,
  defineMutatorWithType,
  defineQueries,
  defineQueryWithType,
  getMutator,
  getQuery,
  InputValidationError,
  isMutator,
  isMutatorDefinition,
  isMutatorRegistry,
  isQuery,
  isQueryDefinition,
  isQueryRegistry,
  mustGetMutator,
  mustGetQuery,
  type StandardSchemaV1,
} from '../src/index.js';
import {knownMutators} from '../src/mutate/legacy-mutators.js';
import {errorToMutatorResult} from '../src/mutate/mutator-result.js';
import {asQueryInternals, hashOfNameAndArgs} from '../src/query/internals.js';
import {toQuery} from '../src/query/query-registry.js';
import {schema, type TestSchema} from './schema.js';

const zql = createBuilder(schema);
const defineQuery = defineQueryWithType<TestSchema, {readonly userID: string}>();
const ctx = {userID: 'u1'};

const queries = defineQueries({
  all: defineQuery(() => zql.issue),
  mine: defineQuery(({ctx}) => zql.issue.where('ownerID', ctx.userID)),
  issue: {
    byID: defineQuery(z.object({id: z.string().transform(id => id.trim())}), ({args}) =>
      zql.issue.where('id', args.id).one(),
    ),
  },
});

test('a query is named by its place in the tree', () => {
  expect(queries.all.queryName).toBe('all');
  expect(queries.issue.byID.queryName).toBe('issue.byID');
  expect(getQuery(queries, 'issue.byID')).toBe(queries.issue.byID);
  expect(getQuery(queries, 'issue|byID')).toBe(queries.issue.byID);
  for (const name of ['nope', 'issue', 'issue.byID.fn', '~', 'toString', '__proto__', '']) {
    expect(getQuery(queries, name), name).toBeUndefined();
  }
  expect(() => mustGetQuery(queries, 'nope')).toThrow(new Error('Query not found: nope'));
});

test('a request runs nothing until it becomes a query', () => {
  const fn = vi.fn(() => zql.issue);
  const registry = defineQueries({q: defineQuery(fn)});
  const request = registry.q();
  expect(fn).not.toHaveBeenCalled();
  toQuery(request, ctx);
  expect(fn).toHaveBeenCalledTimes(1);
});

test('the server is asked with the name and the input as given, not as validated', () => {
  const internals = asQueryInternals(toQuery(queries.issue.byID({id: ' a '}), ctx));
  const {customQueryID, ast, format} = internals;
  expect(customQueryID).toEqual({name: 'issue.byID', args: [{id: ' a '}]});
  expect(internals.hash()).toBe(hashOfNameAndArgs('issue.byID', [{id: ' a '}]));
  expect(ast.where).toMatchObject({right: {value: 'a'}});
  expect(format.singular).toBe(true);
});

test('a query without arguments is asked with an empty list, and sees the context', () => {
  const {customQueryID, ast} = asQueryInternals(toQuery(queries.mine(), ctx));
  expect(customQueryID).toEqual({name: 'mine', args: []});
  expect(ast.where).toMatchObject({right: {value: 'u1'}});
});

test('a method of a named query gives an unnamed one', () => {
  const named = toQuery(queries.all(), ctx);
  expect(asQueryInternals(named).customQueryID?.name).toBe('all');
  expect(asQueryInternals(named.limit(1)).customQueryID).toBeUndefined();
});

test('the same AST under two names, or with the same name and another context, is another view', () => {
  const registry = defineQueries({a: defineQuery(() => zql.issue), b: defineQuery(() => zql.issue)});
  const keys = [registry.a(), registry.b(), queries.mine(), zql.issue].map(request =>
    asQueryInternals(toQuery(request, ctx)).viewKey(),
  );
  const other = asQueryInternals(toQuery(queries.mine(), {userID: 'u2'})).viewKey();
  expect(new Set([...keys, other]).size).toBe(5);
  expect(asQueryInternals(toQuery(queries.mine(), {...ctx})).viewKey()).toBe(keys[2]);
});

test('arguments that fail validation throw with what the validator said', () => {
  const run = () => toQuery(queries.issue.byID({id: 3} as never), ctx);
  expect(run).toThrow(InputValidationError);
  expect(run).toThrow(/^Validation failed for query issue\.byID: /);
  try {
    run();
  } catch (error) {
    const {details, result, name} = error as InputValidationError;
    expect(name).toBe('InputValidationError');
    expect(details).toEqual({type: 'InputValidationError', result});
    expect(result.issues[0]?.path).toEqual(['id']);
  }
});

test('a named query that was not called says so', () => {
  expect(() => toQuery(queries.all as never, ctx)).toThrow('The named query "all" has to be called to ask for it.');
});

test('an async validator is refused, and its rejection is not left unhandled', () => {
  const validator: StandardSchemaV1<string, string> = {
    '~standard': {version: 1, vendor: 'test', validate: () => Promise.reject(new Error('late'))},
  };
  const registry = defineQueries({q: defineQuery(validator, () => zql.issue)});
  expect(() => toQuery(registry.q('x'), ctx)).toThrow('Async validators are not supported. Query name q');
});

test('guards tell registries, definitions and named queries apart', () => {
  const definition = defineQuery(() => zql.issue);
  const values: unknown[] = [queries, queries.issue, definition, queries.all, {}, null, () => {}];
  expect(values.map(isQueryRegistry)).toEqual([true, true, false, false, false, false, false]);
  expect(values.map(isQueryDefinition)).toEqual([false, false, true, false, false, false, false]);
  expect(values.map(isQuery)).toEqual([false, false, false, true, false, false, false]);
});

test('overrides replace leaves and keep the rest, and the base stays usable', () => {
  const extended = defineQueries(queries, {
    issue: {byID: defineQuery(() => zql.user), more: defineQuery(() => zql.label)},
  });
  const table = (request: Parameters<typeof toQuery>[0]) => asQueryInternals(toQuery(request, ctx)).ast.table;
  expect(table(extended.issue.byID())).toBe('user');
  expect(table(extended.issue.more())).toBe('label');
  expect(table(extended.all())).toBe('issue');
  expect(extended.issue.byID.queryName).toBe('issue.byID');
  expect(table(queries.issue.byID({id: 'a'}))).toBe('issue');
  expect(extended.all, 'what is not overridden is the same entry').toBe(queries.all);
});

test('a tree of anything else is refused', () => {
  expect(() => defineQueries({ns: {q: 3}} as never)).toThrow('"ns.q" is neither a definition nor an object of definitions.');
});

const defineMutator = defineMutatorWithType<TestSchema, {readonly userID: string}>();
const calls: unknown[] = [];
const mutators = defineMutators({
  touch: defineMutator(async ({args, ctx}) => {
    calls.push([args, ctx]);
  }),
  issue: {
    create: defineMutator(z.object({id: z.string()}), async ({tx, args}) => {
      await tx.mutate.label.insert({id: args.id, name: 'x'});
    }),
  },
});
const noTx = {} as AnyTransaction;

test('a mutator is named by its place in the tree, and looked up by dots only', () => {
  expect(mutators.issue.create.mutatorName).toBe('issue.create');
  expect(getMutator(mutators, 'issue.create')).toBe(mutators.issue.create);
  expect(getMutator(mutators, 'issue|create')).toBeUndefined();
  expect(() => mustGetMutator(mutators, 'nope')).toThrow(new Error('Mutator not found: nope'));
  expect(mutators.issue.create({id: 'a'})).toEqual({'~': 'MutateRequest', mutator: mutators.issue.create, args: {id: 'a'}});
  const values: unknown[] = [mutators, mutators.touch, defineMutator(async () => {})];
  expect([values.map(isMutatorRegistry), values.map(isMutator), values.map(isMutatorDefinition)]).toEqual([
    [true, false, false],
    [false, true, false],
    [false, false, true],
  ]);
});

test('a mutator runs with its arguments and the context', async () => {
  await mutators.touch.fn({tx: noTx, args: 5, ctx});
  expect(calls).toEqual([[5, ctx]]);
});

test('a mutator that fails validation rejects and does not run', async () => {
  const failing = mutators.issue.create.fn({tx: noTx, args: {} as never, ctx});
  await expect(failing).rejects.toThrow(/^Validation failed for mutator issue\.create: /);
});

test('only the very mutator of the registry is registered', () => {
  const other = defineMutators(mutators, {issue: {create: defineMutator(async () => {})}});
  expect(knownMutators(mutators).has(mutators.issue.create)).toBe(true);
  expect(knownMutators(mutators).has(other.issue.create)).toBe(false);
  expect(knownMutators(undefined).has(mutators.touch)).toBe(false);
});

test('what a mutator throws becomes the result of its mutation', () => {
  class Named extends Error {
    override readonly name = 'Named';
  }
  const of = (error: unknown) => errorToMutatorResult(error).error;
  expect(of(new ApplicationError('no', {details: {code: 7}}))).toEqual({type: 'app', message: 'no', details: {code: 7}});
  expect(of(new Error('plain'))).toEqual({type: 'app', message: 'plain', details: undefined});
  expect(of(new Named('n'))).toEqual({type: 'app', message: 'n', details: {name: 'Named'}});
  const cyclic: {self?: unknown} = {};
  cyclic.self = cyclic;
  expect(of(Object.assign(new Error('odd'), {details: cyclic}))).toEqual({type: 'app', message: 'odd', details: undefined});
  expect(of('text')).toEqual({type: 'app', message: 'text', details: 'text'});
  expect(of({message: 'no', code: 7})).toEqual({type: 'app', message: 'no', details: {message: 'no', code: 7}});
  expect(of(Object.create(null))).toEqual({type: 'app', message: 'Something was thrown that cannot be shown.', details: {}});
});
