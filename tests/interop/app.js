// A small Zero app: schema, queries, mutators, and its endpoint, which is written with nothing but Zero's npm package.
import { createServer } from 'node:http';
import * as zero from '@rocicorp/zero';
import { handleMutateRequest, handleQueryRequest } from '@rocicorp/zero/server';
import { zeroPostgresJS } from '@rocicorp/zero/server/adapters/postgresjs';
import { makeApp } from './shared.js';

export { makeApp };

export const TABLES = `
  CREATE TABLE issue (id text PRIMARY KEY, title text NOT NULL, owner_id text, rank float8, open boolean NOT NULL, meta jsonb, created timestamptz);
  CREATE TABLE comment (id text PRIMARY KEY, issue_id text NOT NULL, body text NOT NULL);
  INSERT INTO issue VALUES ('i1', 'first', 'ann', 1, true, '{"a":[1]}', '2024-01-01T00:00:00.5Z'), ('i2', 'second', 'bob', 2, true, null, null),
    ('i3', 'third', null, 3, false, null, null);
  INSERT INTO comment VALUES ('c1', 'i1', 'hello'), ('c2', 'i1', 'again'), ('c3', 'i2', 'other');`;

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
