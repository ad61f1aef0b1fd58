// The app's own endpoint, as a user would write it with `landfall/server`: queries by name, authoritative mutators.
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { ApplicationError, defineMutator, defineMutators, mustGetMutator, mustGetQuery } from 'landfall';
import { handleMutateRequest, handleQueryRequest } from 'landfall/server';
import { zeroNodePg } from 'landfall/server/adapters/pg';
import pg from 'pg';
import { z } from 'zod';
import { mutators as clientMutators } from './mutators.ts';
import { queries } from './queries.ts';
import { schema } from './schema.ts';

const mutators = defineMutators(clientMutators, {
  task: {
    create: defineMutator(z.object({ id: z.string(), title: z.string(), rank: z.number() }), async ({ tx, args, ctx }) => {
      if (args.title === 'forbidden') throw new ApplicationError('this title is forbidden', { details: { title: args.title } });
      await clientMutators.task.create.fn({ tx, args, ctx });
    }),
  },
});

export interface Api { url: string; close(): Promise<void> }

export async function startApi(databaseUrl: string): Promise<Api> {
  const pool = new pg.Pool({ connectionString: databaseUrl, max: 4 });
  const database = zeroNodePg(schema, pool);
  const server: Server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const url = new URL(request.url ?? '/', 'http://api');
    const query = Object.fromEntries(url.searchParams);
    try {
      const body = JSON.parse(Buffer.concat(chunks).toString('utf8'));
      const answer = url.pathname === '/query'
        ? await handleQueryRequest({
          handler: (name, args) => mustGetQuery(queries, name).fn({ args, ctx: undefined }),
          schema, userID: undefined, query, body,
        })
        : await handleMutateRequest({
          dbProvider: database,
          handler: transact => transact((tx, name, args) => mustGetMutator(mutators, name).fn({ tx, args, ctx: undefined })),
          userID: undefined, query, body,
        });
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
    } catch (error) {
      response.writeHead(500, { 'content-type': 'text/plain' }).end(String(error));
    }
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: async () => {
      server.closeAllConnections();
      await new Promise(resolve => server.close(resolve));
      await pool.end();
    },
  };
}
