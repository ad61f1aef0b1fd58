// A page with nothing but Landfall: what takes long in it is ours.
import { defineMutator, defineMutators, defineQueries, defineQuery, Landfall, type ZeroOptions } from 'landfall';
import { columnsMovedSchema, schema as presentSchema, zql } from './schema.ts';

const parameters = new URLSearchParams(location.search);
const schema = parameters.has('next') ? columnsMovedSchema as unknown as typeof presentSchema : presentSchema;

type NewTask = { readonly id: string; readonly title: string; readonly rank: number };

const mutators = defineMutators({
  create: defineMutator(async ({ tx, args }: { tx: any; args: NewTask }) => {
    await tx.mutate.task.insert({ ...args, done: false });
  }),
});
const queries = defineQueries({ cities: defineQuery(() => zql.city.related('country')) });
const zero = new Landfall({
  schema,
  mutators,
  cacheURL: parameters.get('cache'),
} satisfies ZeroOptions<typeof schema>);

declare global {
  interface Window { bare: { zero: typeof zero; cities: typeof queries.cities; create: typeof mutators.create; zql: typeof zql } }
}
window.bare = { zero, cities: queries.cities, create: mutators.create, zql };
