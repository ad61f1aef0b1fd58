// An application that registers its types, under the name that Zero's applications import; checked by tsc alone.
import {
  createBuilder,
  type DefaultSchema,
  defineMutators,
  defineMutator,
  defineQueries,
  defineQuery,
  type PullRow,
  type Query,
  type QueryResultType,
  type Row,
  type ServerTransaction,
  type Transaction,
} from '@rocicorp/zero';
import {z} from 'zod';
import {schema} from '../schema.js';

interface Sql {
  unsafe(text: string): Promise<unknown[]>;
}

declare class Provider {
  transaction<R>(
    callback: (tx: ServerTransaction<typeof schema, Sql>, hooks: {readonly n: number}) => Promise<R>,
    input?: {readonly clientID: string},
  ): Promise<R>;
}

declare module '@rocicorp/zero' {
  interface DefaultTypes {
    schema: typeof schema;
    context: {userID: string} | undefined;
    dbProvider: Provider;
  }
}

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const isTrue = <T extends true>(value?: T) => value;

isTrue<Equal<DefaultSchema, typeof schema>>();
isTrue<Equal<Row['user'], PullRow<'user', typeof schema>>>();

const zql = createBuilder(schema);
export const queries = defineQueries({
  mine: defineQuery(({ctx}) => zql.issue.where('ownerID', ctx?.userID ?? '')),
  byID: defineQuery(z.object({id: z.string()}), ({args, ctx}) => visible(zql.issue, ctx).where('id', args.id).one()),
  none: defineQuery(z.undefined(), () => zql.label),
});
isTrue<Equal<QueryResultType<typeof queries.byID>, Row['issue'] | undefined>>();
queries.none();

function visible<TReturn>(query: Query<'issue', DefaultSchema, TReturn>, ctx: {readonly userID: string} | undefined) {
  return query.where(({or, cmp, exists}) =>
    or(cmp('open', true), ctx && cmp('ownerID', ctx.userID), exists('labels', q => q.where('name', 'public'))),
  );
}

export const mutators = defineMutators({
  close: defineMutator(z.object({id: z.string()}), async ({tx, args, ctx}) => {
    await assertOwner(tx, args.id, ctx?.userID);
    await tx.mutate.issue.update({id: args.id, open: false});
    if (tx.location === 'server') {
      await tx.dbTransaction.wrappedTransaction.unsafe('select 1');
    }
  }),
});

async function assertOwner(tx: Transaction, id: string, userID: string | undefined): Promise<void> {
  const issue = await tx.run(queries.byID({id}));
  isTrue<Equal<typeof issue, Row['issue'] | undefined>>();
  if (issue?.ownerID !== userID) {
    throw new Error('not yours');
  }
}

/** The server's own version of a mutator calls the shared one. */
export const serverMutators = defineMutators(mutators, {
  close: defineMutator(z.object({id: z.string()}), async ({tx, args, ctx}) => {
    await mutators.close.fn({tx, args, ctx});
    const {wrappedTransaction} = (tx as ServerTransaction).dbTransaction;
    isTrue<Equal<typeof wrappedTransaction, Sql>>();
  }),
});
