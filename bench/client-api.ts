// The endpoint behind the server in `bench:client`, with the queries and mutators of the page.
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import * as landfall from 'landfall';
import { handleMutateRequest, handleQueryRequest } from 'landfall/server';
import { zeroNodePg } from 'landfall/server/adapters/pg';
import pg from 'pg';
import { program } from './page/client-program.ts';

/** The tables with `issues` issues. */
export const tables = (issues: number): string => `
  CREATE TABLE issue (
    id text PRIMARY KEY, title text NOT NULL, description text NOT NULL, status text NOT NULL, priority int4 NOT NULL, owner_id text NOT NULL,
    created float8 NOT NULL, modified float8 NOT NULL
  );
  CREATE TABLE comment (id text PRIMARY KEY, issue_id text NOT NULL, author_id text NOT NULL, body text NOT NULL, created float8 NOT NULL);
  INSERT INTO issue
    SELECT lpad(n::text, 7, '0'), 'Issue ' || n || ' of the harbour', 'Somebody wrote this about it: ' || md5(n::text),
      (ARRAY['open','started','review','closed','rejected'])[n % 5 + 1], n / 5 % 5, 'u' || n * 7 % 200, 1.7e12 + n * 1000.0,
      1.7e12 + (n::int8 * 7919 % ${issues}) * 1000.0
    FROM generate_series(0, ${issues - 1}) AS n;
  INSERT INTO comment
    SELECT lpad(n::text, 8, '0'), lpad((n / 3)::text, 7, '0'), 'u' || n * 13 % 200, 'A word on it: ' || md5(n::text), 1.7e12 + n * 500.0
    FROM generate_series(0, ${issues * 3 - 1}) AS n;
  CREATE INDEX ON comment (issue_id);`;

export async function startApi(databaseUrl: string) {
  const { schema, queries, mutators } = program(landfall);
  const pool = new pg.Pool({ connectionString: databaseUrl, max: 4 });
  const database = zeroNodePg(schema, pool);
  const server = createServer(async (request, response) => {
    let text = '';
    for await (const chunk of request) text += chunk;
    const url = new URL(request.url ?? '/', 'http://api');
    // The token is the user's name: storage in the page is told apart by user.
    const userID = request.headers.authorization?.replace('Bearer ', '');
    const common = { userID, query: Object.fromEntries(url.searchParams), body: JSON.parse(text) };
    try {
      const answer = url.pathname === '/query'
        ? await handleQueryRequest({ ...common, schema, handler: (name, args) => landfall.mustGetQuery(queries, name).fn({ args: args as never, ctx: undefined }) })
        : await handleMutateRequest({
          ...common, dbProvider: database,
          handler: transact => transact((tx, name, args) => landfall.mustGetMutator(mutators, name).fn({ tx: tx as never, args: args as never, ctx: undefined })),
        });
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
    } catch (error) {
      response.writeHead(500, { 'content-type': 'text/plain' }).end(String(error));
    }
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async stop() {
      server.closeAllConnections();
      await new Promise(resolve => server.close(resolve));
      await pool.end();
    },
  };
}
