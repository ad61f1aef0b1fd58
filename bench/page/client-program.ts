/** The app of `bench:client`: what the page, for both clients, and the endpoint behind the server share. */
import type * as Api from 'landfall';

export type Module = typeof Api;

/** Rows that a client holds: issues, and three comments on each. */
export const issuesOf = (rows: number): number => Math.floor(rows / 4);

export function program(module: Module) {
  const {createSchema, createBuilder, table, string, number, relationships, defineQueries, defineQuery, defineMutators, defineMutator} = module;
  const issue = table('issue')
    .columns({
      id: string(), title: string(), description: string(), status: string(), priority: number(), ownerID: string().from('owner_id'),
      created: number(), modified: number(),
    })
    .primaryKey('id');
  const comment = table('comment')
    .columns({
      id: string(), issueID: string().from('issue_id'), authorID: string().from('author_id'), body: string(), created: number(),
    })
    .primaryKey('id');
  const schema = createSchema({
    tables: [issue, comment],
    relationships: [
      relationships(issue, ({many}) => ({comments: many({sourceField: ['id'], destField: ['issueID'], destSchema: comment})})),
    ],
  });
  const zql = createBuilder(schema);
  const newest = zql.issue.orderBy('modified', 'desc');
  const queries = defineQueries({
    // What a client keeps: the first issues and their comments.
    issues: defineQuery(({args}: {args: {limit: number}}) => zql.issue.orderBy('id', 'asc').limit(args.limit)),
    comments: defineQuery(({args}: {args: {limit: number}}) => zql.comment.orderBy('id', 'asc').limit(args.limit)),
    filter: defineQuery(() => zql.issue.where('status', 'open').where('priority', '>=', 3)),
    orderLimit: defineQuery(() => newest.limit(50)),
    related: defineQuery(() => newest.limit(50).related('comments')),
    // The same, but another query for each title.
    relatedBut: defineQuery(({args}: {args: {title: string}}) => newest.where('title', '!=', args.title).limit(50).related('comments')),
    owned: defineQuery(() => newest.where('ownerID', 'u7')),
    exists: defineQuery(() => newest.whereExists('comments', it => it.where('authorID', 'u7')).limit(100)),
    one: defineQuery(({args}: {args: {id: string}}) => zql.issue.where('id', args.id).related('comments')),
  });
  const mutators = defineMutators({
    update: defineMutator(async ({tx, args}: {tx: any; args: any}) => {
      await tx.mutate.issue.update(args);
    }),
  });
  return {schema, queries, mutators};
}

export type Program = ReturnType<typeof program>;
