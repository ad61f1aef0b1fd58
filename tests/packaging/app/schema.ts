import { boolean, createBuilder, createSchema, defineMutator, defineMutators, defineQueries, defineQuery, string, table, type Transaction } from 'landfall';

const note = table('note').columns({ id: string(), text: string(), done: boolean() }).primaryKey('id');
export const schema = createSchema({ tables: [note] });
const zql = createBuilder(schema);

declare module 'landfall' {
  interface DefaultTypes {
    schema: typeof schema;
  }
}

export const queries = defineQueries({ notes: defineQuery(() => zql.note.orderBy('id', 'asc')) });

export const mutators = defineMutators({
  note: {
    add: defineMutator(async ({ tx, args }: { tx: Transaction; args: { id: string; text: string } }) => {
      await tx.mutate.note.insert({ ...args, done: false });
    }),
  },
});
