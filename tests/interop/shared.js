// What pages and endpoint of a small Zero app share: schema, queries, mutators.

/** The app as its pages have it, written for the package that is given: Zero's or ours. */
export function makeApp({
  ApplicationError, boolean, createBuilder, createSchema, defineMutator, defineMutators, defineQueries, defineQuery, json, number, relationships,
  string, table,
}) {
  const issue = table('issue')
    .columns({
      id: string(), title: string(), ownerID: string().from('owner_id').optional(), rank: number().optional(), open: boolean(),
      meta: json().optional(), created: number().optional(),
    })
    .primaryKey('id');
  const comment = table('comment').columns({ id: string(), issueID: string().from('issue_id'), body: string() }).primaryKey('id');

  const schema = createSchema({
    tables: [issue, comment],
    relationships: [
      relationships(issue, ({ many }) => ({ comments: many({ sourceField: ['id'], destField: ['issueID'], destSchema: comment }) })),
      relationships(comment, ({ one }) => ({ issue: one({ sourceField: ['issueID'], destField: ['id'], destSchema: issue }) })),
    ],
  });
  const zql = createBuilder(schema);

  const queries = defineQueries({
    issues: defineQuery(() => zql.issue.orderBy('rank', 'desc').related('comments', q => q.orderBy('id', 'asc'))),
    top: defineQuery(({ args }) => zql.issue.where('open', true).orderBy('rank', 'desc').limit(args)),
    discussed: defineQuery(() => zql.issue.whereExists('comments').related('comments')),
    mine: defineQuery(({ ctx }) => zql.issue.where('ownerID', ctx?.userID ?? 'nobody')),
    refused: defineQuery(({ ctx }) => {
      if (ctx?.atEndpoint) throw new ApplicationError('not for you', { details: { why: 'test' } });
      return zql.issue;
    }),
  });

  const mutators = defineMutators({
    issue: {
      create: defineMutator(async ({ tx, args }) => { await tx.mutate.issue.insert({ open: true, ...args }); }),
      rename: defineMutator(async ({ tx, args }) => {
        if (tx.location === 'server' && args.title === 'forbidden') throw new ApplicationError('no such title', { details: { title: args.title } });
        await tx.mutate.issue.update(args);
      }),
      remove: defineMutator(async ({ tx, args }) => {
        for (const row of await tx.run(zql.comment.where('issueID', args.id))) await tx.mutate.comment.delete({ id: row.id });
        await tx.mutate.issue.delete(args);
      }),
    },
  });
  return { schema, queries, mutators };
}
