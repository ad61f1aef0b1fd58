// The npm package @rocicorp/zero, unchanged, as the client of landfall-server: what a Zero app changes is the URL.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { WebSocket } from 'ws';
import { TABLES, mutators, queries, schema, startEndpoint } from './app.js';
import { makeDatabase, startServer } from './landfall-server.js';
import { complete, titles, until, watch } from './watch.js';

// Node 20 has no WebSocket of its own. A browser's fails with an event; this one would end the process if nobody listened.
globalThis.WebSocket ??= class extends WebSocket {
  constructor(...args) {
    super(...args);
    this.on('error', () => {});
  }
};
const { Zero } = await import('@rocicorp/zero');

let database, endpoint, server;
const open = [];
before(async () => {
  database = await makeDatabase(TABLES);
  endpoint = await startEndpoint(database.sql);
  server = await startServer(database, endpoint);
});
after(async () => {
  await Promise.all(open.map(zero => zero.close()));
  await server?.stop();
  endpoint?.stop();
  await database?.drop();
});

function client(options = {}) {
  const zero = new Zero({
    schema, mutators, cacheURL: server.url, userID: options.auth ?? null, context: { userID: options.auth ?? null }, kvStore: 'mem',
    logLevel: process.env.LANDFALL_TEST_LOG ?? 'error', ...options,
  });
  open.push(zero);
  return zero;
}

test('a query with relations is complete, with all types', async () => {
  const issues = watch(client(), queries.issues());
  const rows = await issues.until('complete', complete);
  assert.deepEqual(titles(rows), ['third', 'second', 'first']);
  assert.deepEqual(rows[2].comments.map(row => row.body), ['hello', 'again']);
  assert.deepEqual(rows[2].meta, { a: [1] });
  assert.equal(rows[2].created, Date.UTC(2024, 0, 1) + 500);
  assert.equal(rows[1].meta, null);
});

test('changes of others arrive, and limits move', async () => {
  const top = watch(client(), queries.top(1));
  assert.deepEqual(titles(await top.until('complete', complete)), ['second']);
  await database.sql`UPDATE issue SET open = true WHERE id = 'i3'`;
  await top.until('third on top', rows => titles(rows)[0] === 'third');
  await database.sql`UPDATE issue SET open = false WHERE id = 'i3'`;
  await top.until('second again', rows => titles(rows)[0] === 'second');
});

test('EXISTS follows its rows', async () => {
  const discussed = watch(client(), queries.discussed());
  assert.deepEqual(titles(await discussed.until('complete', complete)).sort(), ['first', 'second']);
  await database.sql`INSERT INTO comment VALUES ('c9', 'i3', 'x')`;
  await discussed.until('third', rows => rows.length === 3);
  await database.sql`DELETE FROM comment WHERE id = 'c9'`;
  await discussed.until('gone', rows => rows.length === 2);
});

test('mutators run here and there; what the server refuses is taken back', async () => {
  const zero = client({ auth: 'ann' });
  const other = client({ auth: 'bob' });
  const here = watch(zero, queries.issues());
  const there = watch(other, queries.issues());
  await here.until('complete', complete);
  await there.until('complete', complete);
  const made = zero.mutate(mutators.issue.create({ id: 'n1', title: 'new', ownerID: 'ann', rank: 9 }));
  assert.equal((await made.client).type, 'success');
  assert.ok(titles(here.rows).includes('new'), 'shown at once');
  assert.equal((await made.server).type, 'success');
  await there.until('new', rows => titles(rows).includes('new'));
  const refused = zero.mutate(mutators.issue.rename({ id: 'n1', title: 'forbidden' }));
  const outcome = await refused.server;
  assert.equal(outcome.type, 'error');
  assert.deepEqual(outcome.error.details, { title: 'forbidden' });
  await here.until('taken back', rows => titles(rows).includes('new'));
  assert.equal((await zero.mutate(mutators.issue.remove({ id: 'n1' })).server).type, 'success');
  await there.until('removed', rows => !titles(rows).includes('new'));
  assert.equal((await database.sql`SELECT count(*)::int AS n FROM issue WHERE id = 'n1'`)[0].n, 0);
});

test('a query that the app refuses fails alone', async () => {
  const zero = client();
  const errors = [];
  const view = zero.materialize(queries.refused());
  view.addListener((rows, type, error) => { if (type === 'error') errors.push(error); });
  const others = watch(zero, queries.top(5));
  await others.until('complete', complete);
  await until('an error', () => errors.length > 0);
  assert.match(JSON.stringify(errors), /not for you/);
});

test('queries are asked as the user who is connected; an expired token asks for another', async () => {
  const zero = client({ auth: 'ann' });
  const mine = watch(zero, queries.mine());
  assert.deepEqual(titles(await mine.until('complete', complete)), ['first']);
  const late = client({ auth: 'expired' });
  const query = watch(late, queries.mine());
  const states = [];
  late.connection.state.subscribe(state => states.push(state.name));
  await until('a token is asked for', () => states.includes('needs-auth'));
  query.destroy();
});

test('a killed server is caught up with, and no write is lost or doubled', async () => {
  const zero = client({ auth: 'ann' });
  const issues = watch(zero, queries.issues());
  await issues.until('complete', complete);
  await server.kill();
  await database.sql`UPDATE issue SET title = 'while away' WHERE id = 'i2'`;
  const made = zero.mutate(mutators.issue.create({ id: 'n2', title: 'offline', ownerID: 'ann', rank: 8 }));
  await made.client;
  await server.start();
  await issues.until('caught up', rows => titles(rows).includes('while away'));
  assert.equal((await made.server).type, 'success');
  assert.equal((await database.sql`SELECT count(*)::int AS n FROM issue WHERE id = 'n2'`)[0].n, 1);
});

test('a new column disturbs nobody', async () => {
  const zero = client();
  const issues = watch(zero, queries.issues());
  await issues.until('complete', complete);
  const states = [];
  zero.connection.state.subscribe(state => states.push(state.name));
  await database.sql`ALTER TABLE issue ADD COLUMN extra text`;
  await database.sql`UPDATE issue SET extra = 'x', title = 'altered' WHERE id = 'i1'`;
  await issues.until('altered', rows => titles(rows).includes('altered'));
  assert.ok(!states.includes('error') && !states.includes('disconnected'), states.join());
});
