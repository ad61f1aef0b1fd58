// The client's types, with nothing registered; checked by tsc alone.
import {createBuilder, defineMutators, defineMutatorWithType, defineQueries, defineQueryWithType, Zero} from '../../src/index.js';
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
