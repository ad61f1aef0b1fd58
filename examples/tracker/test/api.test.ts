// The bundled programs of the tracker on a real Postgres: seed, API, and what its mutators leave in the database.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const server = process.env.LANDFALL_TEST_POSTGRES_URL;
if (server === undefined) {
  throw new Error('LANDFALL_TEST_POSTGRES_URL is not set; run the tests through `node scripts/with-postgres.mjs --`');
}
const name = `tracker_${process.pid}_${Date.now().toString(36)}`;
const url = new URL(server);
url.pathname = `/${name}`;
const env = { ...process.env, DATABASE_URL: url.href, TRACKER_API_PORT: '0' };
const run = (script: string, ...args: string[]) =>
  execFileSync('node', [here(`../dist-node/${script}`), ...args], { env, encoding: 'utf8', maxBuffer: 1 << 28, stdio: ['ignore', 'pipe', 'ignore'] });

const pool = new pg.Pool({ connectionString: url.href });
const sql = async (text: string) => (await pool.query(text)).rows;

async function onServer(text: string): Promise<unknown[]> {
  const admin = new pg.Client({ connectionString: server! });
  await admin.connect();
  return (await admin.query(text).finally(() => admin.end())).rows;
}

let api: ChildProcess;
let origin: string;

beforeAll(async () => {
  execFileSync('node', [here('../build-api.mjs')]);
  await onServer(`CREATE DATABASE ${name}`);
  run('seed-postgres.mjs');
  // What the sync server creates when it first connects.
  await sql(`
    CREATE SCHEMA zero_0;
    CREATE TABLE zero_0.clients ("clientGroupID" text, "clientID" text, "lastMutationID" bigint, "userID" text, PRIMARY KEY ("clientGroupID", "clientID"));
    CREATE TABLE zero_0.mutations ("clientGroupID" text, "clientID" text, "mutationID" bigint, result json NOT NULL, PRIMARY KEY ("clientGroupID", "clientID", "mutationID"))`);
  api = spawn('node', [here('../dist-node/api.mjs')], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  for await (const line of createInterface({ input: api.stdout! })) {
    const ready = /^tracker api ready on (.*)$/.exec(line);
    if (ready) {
      origin = ready[1]!;
      break;
    }
  }
}, 60_000);

afterAll(async () => {
  if (api?.exitCode === null) {
    const exited = once(api, 'exit');
    api.kill('SIGTERM');
    expect(await exited).toEqual([0, null]);
  }
  // A pool has ended before its connections are closed; one that is cut off meanwhile throws an error that nobody catches.
  await pool.end();
  while ((await onServer(`SELECT pid FROM pg_stat_activity WHERE datname = '${name}'`)).length > 0);
  await onServer(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
});

const post = (path: string, body: string) => fetch(`${origin}${path}`, { method: 'POST', body });

async function ask(...queries: [name: string, arg?: unknown][]): Promise<any[]> {
  const wanted = queries.map(([name, ...args], i) => ({ id: `q${i}`, name, args }));
  const answer: any = await (await post('/api/query', JSON.stringify(['transform', wanted]))).json();
  expect(answer).toMatchObject({ kind: 'QueryResponse', userID: null });
  return answer.queries;
}

let mutationID = 0;
async function mutate(name: string, arg: unknown): Promise<any> {
  const id = ++mutationID;
  const mutation = { type: 'custom', id, clientID: 'c', name, args: [arg], timestamp: 1 };
  const body = { clientGroupID: 'g', pushVersion: 1, timestamp: 1, requestID: 'r', mutations: [mutation] };
  const answer: any = await (await post('/api/mutate?schema=zero_0&appID=zero', JSON.stringify(body))).json();
  expect(answer).toMatchObject({ kind: 'MutateResponse', mutations: [{ id: { clientID: 'c', id } }] });
  return answer.mutations[0].result;
}

const issue = (id: string, title: string) => ({ id, title, description: '', priority: 'high', assigneeID: null, created: 1_750_000_000_000 });

describe('the seed', () => {
  test('is large, whole, and there once', async () => {
    expect(run('seed-postgres.mjs')).toContain('there already');
    const [counts] = await sql(`SELECT (SELECT count(*) FROM issue)::int AS issues, (SELECT count(*) FROM comment)::int AS comments,
      (SELECT count(*) FROM "user")::int AS users, (SELECT count(*) FROM label)::int AS labels,
      (SELECT count(DISTINCT title) FROM issue)::int AS titles, (SELECT count(*) FROM issue WHERE modified < created)::int AS impossible`);
    expect(counts).toMatchObject({ users: 101, labels: 15, impossible: 0 });
    expect(counts!['issues']).toBeGreaterThanOrEqual(10_000);
    expect(counts!['comments']).toBeGreaterThanOrEqual(30_000);
    expect(counts!['titles']).toBe(counts!['issues']);
  });

  test('is the same for SQLite, byte for byte each time', async () => {
    const text = run('seed-sqlite.mjs');
    expect(run('seed-sqlite.mjs')).toBe(text);
    const [{ title }] = await sql(`SELECT title FROM issue WHERE id = 'issue-04711'`) as [{ title: string }];
    expect(text).toContain(`('issue-04711','${title.replaceAll(`'`, `''`)}'`);
    expect(text).not.toMatch(/\b(BEGIN|COMMIT)\b;/);
  });
});

describe('queries', () => {
  test('are answered by name and refused with other arguments', async () => {
    const list = { status: 'open', sort: 'priority', search: '50%', assigneeID: 'user-001', limit: 100 };
    const [found, one, users, wrong, unknown] = await ask(['issues.list', list], ['issues.byID', 'x'], ['users'], ['issues.list', { ...list, limit: -1 }], ['everything']);
    expect(found.ast).toMatchObject({ table: 'issue', limit: 100, orderBy: [['priorityRank', 'asc'], ['modified', 'desc'], ['id', 'desc']] });
    expect(JSON.stringify(found.ast.where)).toContain('"%50\\\\%%"');
    expect(one.ast).toMatchObject({ table: 'issue', limit: 1 });
    expect(users.ast).toEqual({ table: 'user', orderBy: [['name', 'asc']] });
    expect(wrong).toMatchObject({ error: 'app', details: { type: 'InputValidationError' } });
    expect(unknown).toMatchObject({ error: 'app', message: 'Query not found: everything' });
  });
});

describe('mutators', () => {
  test('write what the page wrote, as the guest', async () => {
    expect(await mutate('issue.create', issue('n1', '  A new one '))).toEqual({});
    expect(await mutate('issue.addLabel', { issueID: 'n1', labelID: 'bug' })).toEqual({});
    expect(await mutate('issue.update', { id: 'n1', priority: 'low', open: false, modified: 1_750_000_000_500 })).toEqual({});
    expect(await mutate('comment.add', { id: 'k1', issueID: 'n1', body: 'Hello 😀', created: 1_750_000_001_250 })).toEqual({});
    expect(await sql(`SELECT title, open, priority, "priorityRank", "creatorID", extract(epoch FROM modified)::float8 AS s FROM issue WHERE id = 'n1'`))
      .toEqual([{ title: 'A new one', open: false, priority: 'low', priorityRank: 3, creatorID: 'guest', s: 1_750_000_001.25 }]);
    expect(await sql(`SELECT "authorID", body FROM comment WHERE id = 'k1'`)).toEqual([{ authorID: 'guest', body: 'Hello 😀' }]);
  });

  test('refuse what only the database can know, and what anybody can', async () => {
    expect(await mutate('issue.create', issue('n2', '100% \\ taken_'))).toEqual({});
    expect(await mutate('issue.create', issue('n3', '100% \\ TAKEN_'))).toMatchObject({
      error: 'app', message: expect.stringContaining('already'), details: { code: 'duplicate-title', issueID: 'n2' },
    });
    expect(await mutate('issue.create', issue('n4', '100x \\ taken_'))).toEqual({});
    expect(await mutate('issue.update', { id: 'n4', title: '100% \\ taken_', modified: 1 })).toMatchObject({ error: 'app' });
    expect(await mutate('issue.update', { id: 'n2', title: '100% \\ Taken_', modified: 1 })).toEqual({});
    expect(await mutate('issue.create', issue('n5', '   '))).toMatchObject({ error: 'app', message: expect.stringContaining('needs a title') });
    expect(await mutate('comment.add', { id: 'k2', issueID: 'gone', body: 'x', created: 1 })).toMatchObject({ error: 'app', message: 'This issue has been deleted' });
    expect(await sql(`SELECT id FROM issue WHERE id IN ('n3', 'n5')`)).toEqual([]);
    expect(await sql('SELECT "mutationID"::int AS id FROM zero_0.mutations ORDER BY 1')).toHaveLength(4);
  });

  test('delete an issue with all that belongs to it', async () => {
    expect(await mutate('issue.delete', { id: 'n1' })).toEqual({});
    expect(await sql(`SELECT (SELECT count(*) FROM issue WHERE id = 'n1')::int AS issues, (SELECT count(*) FROM comment WHERE "issueID" = 'n1')::int AS comments,
      (SELECT count(*) FROM "issueLabel" WHERE "issueID" = 'n1')::int AS labels`)).toEqual([{ issues: 0, comments: 0, labels: 0 }]);
  });
});

test('what is no call is refused', async () => {
  expect((await post('/api/mutate', '{')).status).toBe(400);
  expect((await post('/nothing', '{}')).status).toBe(404);
  expect((await fetch(`${origin}/api/query`)).status).toBe(405);
  expect((await post('/api/query', `"${'x'.repeat(11 * 1024 * 1024)}"`)).status).toBe(413);
  expect(await (await fetch(`${origin}/health`)).json()).toEqual({ ok: true });
});

test('the permissions leave users and labels to be read only', () => {
  const { tables } = JSON.parse(run('permissions.mjs'));
  expect(Object.keys(tables).sort()).toEqual(['comment', 'issue', 'issueLabel', 'label', 'user']);
  expect(Object.keys(tables.user.row)).toEqual(['select']);
  expect(Object.keys(tables.label.row)).toEqual(['select']);
  expect(JSON.stringify(tables.issue.row.insert)).toContain('"anchor":"authData","field":"sub"');
  expect(tables.issue.row.update).toMatchObject({ preMutation: [['allow', {}]], postMutation: [['allow', { type: 'simple', op: '!=' }]] });
});
