// Our client against the npm package's zero-cache, unchanged, with an endpoint built from its `/server` part.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import * as landfall from 'landfall';
import { WebSocket } from 'ws';
import { TABLES, makeApp, startEndpoint } from './app.js';
import { makeDatabase } from './landfall-server.js';
import { complete, titles, until, watch } from './watch.js';
import { startZeroCache } from './zero-cache.js';

// Node 20 has no WebSocket of its own. A browser's fails with an event; this one would end the process if nobody listened.
globalThis.WebSocket ??= class extends WebSocket {
  constructor(...args) {
    super(...args);
    this.on('error', () => {});
  }
};
const { schema, queries, mutators } = makeApp(landfall);

let database, endpoint, server;
const open = [];
before(async () => {
  database = await makeDatabase(TABLES);
  endpoint = await startEndpoint(database.sql);
  server = await startZeroCache(database, endpoint);
}, { timeout: 180_000 });
after(async () => {
  await Promise.all(open.map(client => client.close()));
  await server?.stop();
  endpoint?.stop();
  await database?.drop();
});

function client({ user, token } = {}) {
  const zero = new landfall.Landfall({
    schema, mutators, cacheURL: server.url, userID: user ?? null, auth: token ?? user, context: { userID: user ?? null }, kvStore: 'mem',
    logLevel: process.env.LANDFALL_TEST_LOG ?? 'error',
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

test('changes of others arrive: limits move, EXISTS follows its rows', async () => {
  const zero = client();
  const top = watch(zero, queries.top(1));
  const discussed = watch(zero, queries.discussed());
  assert.deepEqual(titles(await top.until('complete', complete)), ['second']);
  assert.deepEqual(titles(await discussed.until('complete', complete)).sort(), ['first', 'second']);
  await database.sql`UPDATE issue SET open = true WHERE id = 'i3'`;
  await top.until('third on top', rows => titles(rows)[0] === 'third');
  await database.sql`UPDATE issue SET open = false WHERE id = 'i3'`;
  await top.until('second again', rows => titles(rows)[0] === 'second');
  await database.sql`INSERT INTO comment VALUES ('c9', 'i3', 'x')`;
  await discussed.until('third', rows => rows.length === 3);
  await database.sql`DELETE FROM comment WHERE id = 'c9'`;
  await discussed.until('gone', rows => rows.length === 2);
});

test('mutators run here and there; what the server refuses is taken back', async () => {
  const zero = client({ user: 'ann' });
  const here = watch(zero, queries.issues());
  const there = watch(client({ user: 'bob' }), queries.issues());
  await here.until('complete', complete);
  await there.until('complete', complete);
  const made = zero.mutate(mutators.issue.create({ id: 'n1', title: 'new', ownerID: 'ann', rank: 9 }));
  assert.equal((await made.client).type, 'success');
  assert.ok(titles(here.rows).includes('new'), 'shown at once');
  assert.equal((await made.server).type, 'success');
  await there.until('new', rows => titles(rows).includes('new'));
  const outcome = await zero.mutate(mutators.issue.rename({ id: 'n1', title: 'forbidden' })).server;
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
  await watch(zero, queries.top(5)).until('complete', complete);
  await until('an error', () => errors.length > 0);
  assert.match(JSON.stringify(errors), /not for you/);
});

/** Waits until the connection has a state. */
const reaches = (zero, name) => new Promise((resolve, reject) => {
  const seen = [zero.connection.state.current.name];
  const timer = setTimeout(() => reject(new Error(`not ${name}, but ${seen.join()}`)), 60_000);
  const check = state => {
    seen.push(state.name);
    if (state.name !== name) return;
    clearTimeout(timer);
    resolve();
  };
  zero.connection.state.subscribe(check);
  check(zero.connection.state.current);
});

test('a token is replaced while connected; an expired one asks for another, and work goes on', async () => {
  const zero = client({ user: 'ann', token: 'ann.1' });
  const mine = watch(zero, queries.mine());
  assert.deepEqual(titles(await mine.until('complete', complete)), ['first']);
  await zero.connection.connect({ auth: 'ann.2' });
  assert.equal((await zero.mutate(mutators.issue.rename({ id: 'i1', title: 'renamed' })).server).type, 'success');
  assert.equal(endpoint.tokens['/mutate'].at(-1), 'ann.2');
  endpoint.expired.add('ann.3');
  const late = client({ user: 'ann', token: 'ann.3' });
  const query = watch(late, queries.mine());
  await reaches(late, 'needs-auth');
  const made = late.mutate(mutators.issue.rename({ id: 'i1', title: 'first' }));
  assert.equal((await made.client).type, 'success');
  await late.connection.connect({ auth: 'ann.4' });
  assert.deepEqual(titles(await query.until('complete', complete)), ['first']);
  assert.equal((await made.server).type, 'success');
  await mine.until('named back', rows => titles(rows)[0] === 'first');
});

test('a killed server is caught up with, and no write is lost or doubled', { timeout: 180_000 }, async () => {
  const zero = client({ user: 'ann' });
  const issues = watch(zero, queries.issues());
  await issues.until('complete', complete);
  await server.kill();
  await database.sql`UPDATE issue SET title = 'while away' WHERE id = 'i2'`;
  const made = zero.mutate(mutators.issue.create({ id: 'n2', title: 'offline', ownerID: 'ann', rank: 8 }));
  assert.equal((await made.client).type, 'success');
  await server.start();
  await issues.until('caught up', rows => titles(rows).includes('while away'));
  assert.equal((await made.server).type, 'success');
  assert.equal((await database.sql`SELECT count(*)::int AS n FROM issue WHERE id = 'n2'`)[0].n, 1);
});
