// Checked by tsc alone; nothing here runs.
import {z} from 'zod';
import {
  createBuilder,
  defineMutators,
  defineMutatorWithType,
  defineQueries,
  defineQueryWithType,
  type DeleteID,
  type HumanReadable,
  type InsertValue,
  type MutateRequest,
  mustGetQuery,
  type PullRow,
  type QueryResultType,
  type QueryRowType,
  type Row,
  type Transaction,
  type UpdateValue,
} from '../../src/index.js';
import type {Expand} from '../../src/type-tools.js';
import {issue, type Meta, schema, type TestSchema} from '../schema.js';

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function expectType<A>() {
  return {toBe<B>(_proof: Equal<A, B> extends true ? 'same' : {expected: B; got: A}): void {}};
}

type User = {readonly id: string; readonly name: string; readonly manager: string | null};
type Issue = {
  readonly id: string;
  readonly title: string;
  readonly open: boolean;
  readonly kind: 'bug' | 'feature';
  readonly rank: number | null;
  readonly meta: Meta | null;
  readonly tags: readonly string[];
  readonly ownerID: string | null;
  readonly created: number;
};
type Comment = {
  readonly id: string;
  readonly issueID: string;
  readonly authorID: string;
  readonly body: string;
  readonly created: number;
};

// Rows
expectType<PullRow<'issue', TestSchema>>().toBe<Issue>('same');
expectType<Row<TestSchema>['user']>().toBe<User>('same');
expectType<Row<typeof schema.tables.user>>().toBe<User>('same');
expectType<Row<typeof issue>>().toBe<Issue>('same');

// Queries
const zql = createBuilder(schema);
expectType<QueryResultType<typeof zql.issue>>().toBe<Issue[]>('same');
const one = zql.issue.one();
expectType<QueryResultType<typeof one>>().toBe<Issue | undefined>('same');
expectType<QueryRowType<typeof one>>().toBe<Issue>('same');

const rich = zql.issue
  .where('open', true)
  .related('owner')
  .related('comments', q => q.orderBy('created', 'desc').limit(10).related('author'))
  .related('labels');
type Rich = Expand<QueryRowType<typeof rich>>;
expectType<Rich['owner']>().toBe<User | undefined>('same');
expectType<Expand<Rich['comments'][number]['author']>>().toBe<User | undefined>('same');
expectType<Omit<Expand<Rich['comments'][number]>, 'author'>>().toBe<Comment>('same');
expectType<Rich['labels']>().toBe<readonly {readonly id: string; readonly name: string}[]>('same');
const firstLabel = zql.issue.related('labels', q => q.orderBy('name', 'asc').one());
expectType<QueryRowType<typeof firstLabel>['labels']>().toBe<{readonly id: string; readonly name: string} | undefined>(
  'same',
);
const someLabels = zql.issue.related('labels', q => q.orderBy('name', 'asc').start({name: 'b'}).limit(3));
expectType<QueryRowType<typeof someLabels>['labels']>().toBe<readonly {readonly id: string; readonly name: string}[]>(
  'same',
);
expectType<Rich['kind']>().toBe<'bug' | 'feature'>('same');

const last = zql.issue.related('comments', q => q.one()).one();
expectType<NonNullable<QueryResultType<typeof last>>['comments']>().toBe<Comment | undefined>('same');
expectType<HumanReadable<{a: 1} | undefined>>().toBe<{a: 1} | undefined>('same');

// Filters
zql.issue.where('kind', 'IN', ['bug']).where('rank', 'IS', null).where('rank', '>', 3).where('title', undefined);
zql.issue.where(({and, or, not, cmp, cmpLit, exists}) =>
  and(undefined, or(cmp('open', true), not(cmp('title', 'ILIKE', '%x%'))), cmpLit(1, '=', 1), exists('owner', q => q.where('name', 'a'))),
);
zql.issue.whereExists('labels', q => q.where('name', 'x'), {scalar: true}).whereExists('owner', {flip: true});
zql.issue.orderBy('created', 'desc').start({created: 1, id: 'x'}, {inclusive: true});
// @ts-expect-error null needs IS
zql.issue.where('rank', '=', null);
// @ts-expect-error not a value of the enumeration
zql.issue.where('kind', 'chore');
// @ts-expect-error JSON cannot be compared
zql.issue.where('meta', '=', 'x');
// @ts-expect-error unknown column
zql.issue.where('nope', 1);
// @ts-expect-error IN needs an array
zql.issue.where('kind', 'IN', 'bug');
// @ts-expect-error unknown relationship
zql.issue.related('nope');
// @ts-expect-error unknown column
zql.issue.orderBy('nope', 'asc');
// @ts-expect-error a column of another table
zql.issue.related('comments', q => q.where('title', 'x'));

// Named queries
const defineQuery = defineQueryWithType<TestSchema, {userID: string}>();
const queries = defineQueries({
  all: defineQuery(() => zql.issue),
  mine: defineQuery(({ctx}) => zql.issue.where('ownerID', ctx.userID).related('owner')),
  issue: {
    byID: defineQuery(z.object({id: z.string()}), ({args}) => zql.issue.where('id', args.id).one()),
    page: defineQuery(z.object({limit: z.number()}).optional(), ({args}) => zql.issue.limit(args?.limit ?? 10)),
    bare: defineQuery(({args}: {args: {n: number}}) => zql.issue.limit(args.n)),
  },
});
queries.all();
queries.issue.page();
queries.issue.page({limit: 3});
queries.issue.bare({n: 3});
// @ts-expect-error the argument is required
queries.issue.byID();
// @ts-expect-error the argument has another shape
queries.issue.byID({id: 3});
expectType<QueryResultType<typeof queries.issue.byID>>().toBe<Issue | undefined>('same');
expectType<QueryResultType<typeof queries.all>>().toBe<Issue[]>('same');
expectType<Row<typeof queries.issue.byID>>().toBe<Issue>('same');
expectType<NonNullable<Row<typeof queries.mine>['owner']>>().toBe<User>('same');
const request = queries.mine();
expectType<Expand<QueryRowType<typeof request>>['title']>().toBe<string>('same');
queries.issue.byID.fn({args: {id: 'a'}, ctx: {userID: 'u'}}).related('owner');
// @ts-expect-error the context is required
queries.issue.byID.fn({args: {id: 'a'}});
const name: string = queries.issue.byID.queryName;
mustGetQuery(queries, name).fn({args: {id: 'a'}, ctx: {userID: 'u'}});

const extended = defineQueries(queries, {issue: {byID: defineQuery(() => zql.user), more: defineQuery(() => zql.user)}});
expectType<QueryResultType<typeof extended.issue.byID>>().toBe<User[]>('same');
expectType<QueryResultType<typeof extended.issue.page>>().toBe<Issue[]>('same');
expectType<QueryResultType<typeof extended.issue.more>>().toBe<User[]>('same');
expectType<QueryResultType<typeof extended.all>>().toBe<Issue[]>('same');

// Mutators
const defineMutator = defineMutatorWithType<TestSchema, {userID: string}, {sql: string}>();
export const mutators = defineMutators({
  touch: defineMutator(async ({tx}) => {
    expectType<typeof tx.location>().toBe<'client' | 'server'>('same');
  }),
  issue: {
    create: defineMutator(z.object({id: z.string(), title: z.string()}), async ({tx, args, ctx}) => {
      await tx.mutate.issue.insert({...args, open: true, kind: 'bug', tags: [], created: 1, ownerID: ctx.userID});
      await tx.mutate.issue.update({id: args.id, title: 'x', rank: null});
      await tx.mutate.issueLabel.delete({labelID: 'l', issueID: args.id});
      // @ts-expect-error a required column is missing
      await tx.mutate.issue.insert({id: args.id});
      // @ts-expect-error the key is missing
      await tx.mutate.issue.update({title: 'x'});
      // @ts-expect-error the column is not optional
      await tx.mutate.issue.update({id: 'x', title: null});
      const found = await tx.run(zql.issue.where('id', args.id).one());
      expectType<typeof found>().toBe<Issue | undefined>('same');
      const mine = await tx.run(queries.issue.bare({n: 3}));
      expectType<typeof mine>().toBe<Issue[]>('same');
      if (tx.location === 'server') {
        expectType<typeof tx.dbTransaction.wrappedTransaction>().toBe<{sql: string}>('same');
        expectType<typeof tx.reason>().toBe<'authoritative'>('same');
      }
    }),
  },
});
mutators.touch();
export const create: MutateRequest<{id: string; title: string}, TestSchema, {userID: string}, {sql: string}> =
  mutators.issue.create({id: 'a', title: 'b'});
// @ts-expect-error the argument is required
mutators.issue.create();
declare const tx: Transaction<TestSchema>;
mutators.issue.create.fn({tx, args: {id: 'a', title: 'b'}, ctx: {userID: 'u'}});

expectType<DeleteID<typeof schema.tables.issueLabel>>().toBe<{readonly labelID: string; readonly issueID: string}>('same');
expectType<UpdateValue<typeof schema.tables.user>>().toBe<{
  readonly id: string;
  readonly name?: string | undefined;
  readonly manager?: string | null | undefined;
}>('same');
expectType<InsertValue<typeof schema.tables.user>>().toBe<{
  readonly id: string;
  readonly name: string;
  readonly manager?: string | null | undefined;
}>('same');
