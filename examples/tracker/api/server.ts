// The tracker's API: two endpoints that the sync server calls, on node:http and pg.
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { mustGetMutator, mustGetQuery } from 'landfall';
import { handleMutateRequest, handleQueryRequest } from 'landfall/server';
import { zeroNodePg } from 'landfall/server/adapters/pg';
import pg from 'pg';
import { queries } from '../shared/queries.ts';
import { schema } from '../shared/schema.ts';
import { type Context, GUEST } from '../shared/user.ts';
import { mutators } from './mutators.ts';

const MAX_BODY_BYTES = 10 * 1024 * 1024;

const databaseUrl = process.env.DATABASE_URL;
if (!databaseUrl) {
  console.error('DATABASE_URL is not set: postgres://USER:PASSWORD@HOST:PORT/DATABASE');
  process.exit(2);
}
const pool = new pg.Pool({ connectionString: databaseUrl });
pool.on('error', error => console.error(`a database connection was lost: ${error.message}`));
const dbProvider = zeroNodePg(schema, pool);

/** A request that cannot be answered, and the status that says so. */
class Refused extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

// An application reads the user from the token or cookie that the sync server forwards; here everybody is the guest.
const userID = null;
const ctx: Context = { userID: GUEST };

const endpoints: Record<string, (query: URLSearchParams, body: unknown) => Promise<unknown>> = {
  '/api/query': (_query, body) => handleQueryRequest({
    schema,
    userID,
    body,
    handler: (name, args) => mustGetQuery(queries, name).fn({ args, ctx }),
  }),
  '/api/mutate': (query, body) => handleMutateRequest({
    dbProvider,
    userID,
    query,
    body,
    handler: transact => transact((tx, name, args) => mustGetMutator(mutators, name).fn({ tx, args, ctx })),
  }),
};

const server = createServer((request, response) => {
  answer(request).then(
    ({ status, body }) => send(response, status, body),
    (error: unknown) => {
      const status = error instanceof Refused ? error.status : 500;
      if (status === 500) console.error(error);
      send(response, status, { error: status === 500 ? 'Internal error' : (error as Error).message });
    },
  );
});

async function answer(request: IncomingMessage): Promise<{ status: number; body: unknown }> {
  const { pathname, searchParams } = new URL(request.url ?? '/', 'http://localhost');
  if (pathname === '/health') return { status: 200, body: { ok: true } };
  const endpoint = Object.hasOwn(endpoints, pathname) ? endpoints[pathname] : undefined;
  if (endpoint === undefined) throw new Refused(404, 'There is nothing here');
  if (request.method !== 'POST') throw new Refused(405, 'POST, please');
  return { status: 200, body: await endpoint(searchParams, await readJSON(request)) };
}

async function readJSON(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_BODY_BYTES) throw new Refused(413, `A body has at most ${MAX_BODY_BYTES} bytes`);
    chunks.push(chunk);
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch {
    throw new Refused(400, 'The body is not JSON');
  }
}

function send(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

const port = Number(process.env.TRACKER_API_PORT ?? 4850);
server.once('error', (error: NodeJS.ErrnoException) => {
  console.error(error.code === 'EADDRINUSE' ? `port ${port} is taken: choose another with TRACKER_API_PORT=…` : error.message);
  process.exit(1);
});
server.listen(port, '127.0.0.1', () => {
  const address = server.address();
  console.log(`tracker api ready on http://127.0.0.1:${typeof address === 'object' ? address?.port : port}`);
});

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    server.close(() => void pool.end());
    server.closeIdleConnections();
  });
}
