// A small Zero app: schema, queries, mutators, and its endpoint, which is written with nothing but Zero's npm package.
import { createServer } from 'node:http';
import * as zero from '@rocicorp/zero';
import { handleMutateRequest, handleQueryRequest } from '@rocicorp/zero/server';
import { zeroPostgresJS } from '@rocicorp/zero/server/adapters/postgresjs';

export const TABLES = `
  CREATE TABLE issue (id text PRIMARY KEY, title text NOT NULL, owner_id text, rank float8, open boolean NOT NULL, meta jsonb, created timestamptz);
  CREATE TABLE comment (id text PRIMARY KEY, issue_id text NOT NULL, body text NOT NULL);
  INSERT INTO issue VALUES ('i1', 'first', 'ann', 1, true, '{"a":[1]}', '2024-01-01T00:00:00.5Z'), ('i2', 'second', 'bob', 2, true, null, null),
    ('i3', 'third', null, 3, false, null, null);
  INSERT INTO comment VALUES ('c1', 'i1', 'hello'), ('c2', 'i1', 'again'), ('c3', 'i2', 'other');`;

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
export const { schema, queries, mutators } = makeApp(zero);

/**
 * Serves the app's endpoint as Zero's documentation has it.
 * A user is whoever the bearer token names: `ann`, or `ann.2` for another token of the same user.
 */
export async function startEndpoint(sql) {
  const expired = new Set(['expired']);
  const tokens = { '/query': [], '/mutate': [] };
  const dbProvider = zeroPostgresJS(schema, sql);
  const server = createServer(async (request, response) => {
    const url = new URL(request.url, 'http://app');
    let body = '';
    for await (const chunk of request) body += chunk;
    const token = request.headers.authorization?.replace('Bearer ', '');
    tokens[url.pathname].push(token);
    if (expired.has(token)) return response.writeHead(401).end();
    const userID = token?.split('.')[0] ?? null;
    const ctx = { userID, atEndpoint: true };
    const query = Object.fromEntries(url.searchParams);
    const common = { userID, query, body: JSON.parse(body) };
    const answer = url.pathname === '/query'
      ? await handleQueryRequest({ ...common, schema, handler: (name, args) => zero.mustGetQuery(queries, name).fn({ args, ctx }) })
      : await handleMutateRequest({
        ...common, dbProvider,
        handler: transact => transact((tx, name, args) => zero.mustGetMutator(mutators, name).fn({ tx, args, ctx })),
      });
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
  });
  await new Promise(resolve => server.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${server.address().port}`, expired, tokens, stop: () => server.close() };
}
