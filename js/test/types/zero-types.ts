// The client's types, with nothing registered; checked by tsc alone.
import {
  type Change,
  createBuilder,
  defineMutators,
  defineMutatorWithType,
  defineQueries,
  defineQueryWithType,
  type ErroredQuery,
  type Format,
  type Input,
  type Node,
  type Output,
  type Query,
  type Row,
  type Schema,
  type TTL,
  type ViewFactory,
  Zero,
} from '../../src/index.js';
import {useQuery, useSuspenseQuery, useZero, ZeroProvider} from '../../src/react/index.js';
import {schema, type TestSchema} from '../schema.js';

type Context = {userID: string};
const zql = createBuilder(schema);
const queries = defineQueries({
  mine: defineQueryWithType<TestSchema, Context>()(({ctx, args}: {ctx: Context; args: {open: boolean}}) =>
    zql.issue.where('ownerID', ctx.userID).where('open', args.open),
  ),
  one: defineQueryWithType<TestSchema, Context>()(() => zql.issue.related('owner').one()),
});
const mutators = defineMutators({
  close: defineMutatorWithType<TestSchema, Context>()(async ({tx, args}: {tx: any; args: {id: string}}) => {
    await tx.mutate.issue.update({id: args.id, open: false});
  }),
});

export async function client(): Promise<string[]> {
  const zero = new Zero({schema, mutators, context: {userID: 'u'}, userID: 'u', cacheURL: null});
  const result = await zero.mutate(mutators.close({id: 'a'})).client;
  const issues = await zero.run(queries.mine({open: true}));
  const issue = await zero.run(zql.issue.one());
  zero.preload(queries.mine({open: true}), {ttl: '1m'}).cleanup();
  const stop = zero.materialize(queries.one()).addListener((one, type) => console.log(one?.owner?.name, type));
  stop();
  return [result.type, issues[0]?.title ?? '', issue?.title ?? ''];
}

export function Component({id}: {id: string | undefined}) {
  const zero = useZero();
  zero.mutate(mutators.close({id: 'a'}));
  const typed = useZero<TestSchema, typeof mutators, Context>();
  typed.mutate(mutators.close({id: 'a'}));
  const [issues, {type}] = useQuery(queries.mine({open: true}), {ttl: '10s', enabled: type_ !== ''});
  const [maybe] = useQuery(id && queries.one());
  const [list] = useSuspenseQuery(zql.issue.related('labels'), {suspendUntil: 'complete'});
  const names: (string | undefined)[] = [issues[0]?.title, maybe?.owner?.name, list[0]?.labels[0]?.name, type];
  // @ts-expect-error there may be no query
  maybe.title;
  // @ts-expect-error no such property
  issues[0]?.owner;
  return names.join();
}
const type_: string = '';

/** A view of an application's own, for any query. */
function listFactory<TTable extends keyof TSchema['tables'] & string, TSchema extends Schema, TReturn>(
  _query: Query<TTable, TSchema, TReturn>,
  input: Input,
  _format: Format,
  onDestroy: () => void,
  onTransactionCommit: (commit: () => void) => void,
  queryComplete: true | ErroredQuery | Promise<true>,
  updateTTL: (ttl: TTL) => void,
): {readonly rows: Node[]; readonly changes: Change[]; destroy(): void} {
  const rows = [...input.fetch({})].filter(node => node !== 'yield');
  const changes: Change[] = [];
  const output: Output = {push: change => (changes.push(change), [])};
  input.setOutput(output);
  onTransactionCommit(() => console.log(queryComplete === true || 'error' in queryComplete));
  updateTTL('1m');
  return {rows, changes, destroy: onDestroy};
}

export function ownViews(zero: Zero<TestSchema, undefined, Context>): unknown[] {
  const view = zero.materialize(queries.mine({open: true}), listFactory, {ttl: '1m'});
  const name: unknown = view.rows[0]?.row['title'];
  const [type, node] = view.changes[0]!;
  const factory: ViewFactory<'issue', TestSchema, Row<typeof schema.tables.issue>, number> = query => {
    query.where('title', 'x');
    return 1;
  };
  const count: number = zero.materialize(zql.issue, factory);
  // @ts-expect-error a factory is not an option
  zero.materialize(zql.issue, {ttl: '1m'}, factory);
  return [name, type === 2, node.row['id'], count];
}

export const tree = [
  ZeroProvider({schema, mutators, userID: 'u', cacheURL: 'http://localhost', context: {userID: 'u'}, children: null}),
  ZeroProvider({zero: new Zero({schema}), children: null}),
  // @ts-expect-error there is no client without a schema
  ZeroProvider({userID: 'u'}),
];

// The deprecated ways, where a schema enables them.
const legacySchema = {...schema, enableLegacyQueries: true, enableLegacyMutators: true} as const;
export async function legacy(): Promise<(string | undefined)[]> {
  const functions = {issue: {close: async (_tx: unknown, _args: {id: string}) => {}}, clear: async (_tx: unknown) => {}};
  const zero = new Zero({schema: legacySchema, mutators: functions});
  await zero.mutate.user.insert({id: 'a', name: 'Ann'});
  await zero.mutateBatch(mutate => mutate.user.delete({id: 'a'}));
  const result = await zero.mutate.issue.close({id: 'a'}).client;
  await zero.mutate.clear().server;
  // @ts-expect-error the arguments are another type
  zero.mutate.issue.close({id: 3});
  // @ts-expect-error no such column
  zero.mutate.user.insert({id: 'a', name: 'Ann', nope: 1});
  const plain = new Zero({schema, mutators});
  // @ts-expect-error the schema has no legacy mutators
  plain.mutate.user;
  // @ts-expect-error nor legacy queries
  plain.query.user;
  const {inspector} = plain;
  const [query] = await inspector.client.queries();
  return [(await zero.query.user.one().run())?.name, result.type, query?.serverZQL ?? undefined];
}
