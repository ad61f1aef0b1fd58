// A view factory of an application is told the same by either package's client: no server, the same writes.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import * as zeroPackage from '@rocicorp/zero';
// A file of the package that its exports do not name: what every query of Zero without a factory is shown by.
import { ArrayView } from './node_modules/@rocicorp/zero/out/zql/src/ivm/array-view.js';
import * as landfallPackage from '../../js/dist/index.js';

/** An app that writes rows of two tables as it is told, and its client. */
function makeClient(name, pkg) {
  const { boolean, createBuilder, createSchema, defineMutator, defineMutators, number, relationships, string, table, Zero } = pkg;
  const issue = table('issue').columns({ id: string(), title: string(), ownerID: string(), rank: number(), open: boolean() }).primaryKey('id');
  const comment = table('comment').columns({ id: string(), issueID: string(), body: string() }).primaryKey('id');
  const user = table('user').columns({ id: string(), name: string() }).primaryKey('id');
  const schema = createSchema({
    tables: [issue, comment, user],
    relationships: [
      relationships(issue, ({ one, many }) => ({
        comments: many({ sourceField: ['id'], destField: ['issueID'], destSchema: comment }),
        owner: one({ sourceField: ['ownerID'], destField: ['id'], destSchema: user }),
      })),
    ],
  });
  const mutators = defineMutators({
    write: defineMutator(async ({ tx, args }) => {
      for (const [table, op, row] of args) await tx.mutate[table][op](row);
    }),
  });
  const zero = new Zero({ schema, mutators, userID: 'u', storageKey: name, kvStore: 'mem', logSink: { log() {} } });
  const write = async (...writes) => assert.equal((await zero.mutate(mutators.write(writes)).client).type, 'success');
  return { zero, zql: createBuilder(schema), write };
}

const clients = { zero: makeClient('zero', zeroPackage), landfall: makeClient('landfall', landfallPackage) };
after(() => Promise.all(Object.values(clients).map(({ zero }) => zero.close())));

const kinds = ['add', 'remove', 'edit', 'child'];

/** A node with everything below it, without what Zero keeps for its conditions. */
function drained({ row, relationships }) {
  const lists = Object.entries(relationships).filter(([name]) => !name.startsWith('zsubq_'));
  return { ...row, ...Object.fromEntries(lists.map(([name, read]) => [name, [...read()].filter(node => node !== 'yield').map(drained)])) };
}

function described([type, node, extra]) {
  switch (kinds[type]) {
    case 'edit': return ['edit', { ...node.row }, 'was', { ...extra.row }];
    case 'child': return ['child', node.row.id, extra.relationshipName, described(extra.change)];
    default: return [kinds[type], drained(node)];
  }
}

/** Writes down what it is told. */
const recorder = log => (query, input, format, onDestroy, onTransactionCommit, queryComplete, updateTTL) => {
  const schema = input.getSchema();
  input.setOutput({
    push(change) {
      // Zero also tells of the rows that its conditions look at.
      if (!change[2]?.relationshipName?.startsWith('zsubq_')) log.push(described(change));
      return [];
    },
  });
  log.push(['fetched', [...input.fetch({})].filter(node => node !== 'yield').map(drained)]);
  log.push(['of', schema.tableName, schema.primaryKey, Object.keys(schema.columns), format]);
  onTransactionCommit(() => log.at(-1) !== 'commit' && log.push('commit'));
  assert.equal(typeof queryComplete.then, 'function');
  updateTTL('1m');
  return { destroy: onDestroy, query };
};

const issue = (id, rank, more = {}) => ({ id, title: `issue ${id}`, ownerID: 'ann', rank, open: true, ...more });

async function check(makeQuery, batches) {
  const logs = await told(makeQuery, batches);
  assert.deepEqual(logs.landfall, logs.zero);
}

async function told(makeQuery, batches) {
  const logs = {};
  for (const [name, { zero, zql, write }] of Object.entries(clients)) {
    await write(['user', 'upsert', { id: 'ann', name: 'Ann' }], ['user', 'upsert', { id: 'bob', name: 'Bob' }]);
    await write(['issue', 'upsert', issue('a', 1)], ['issue', 'upsert', issue('b', 2)], ['comment', 'upsert', { id: 'a1', issueID: 'a', body: 'first' }]);
    logs[name] = [];
    const view = zero.materialize(makeQuery(zql), recorder(logs[name]), { ttl: '1m' });
    for (const batch of batches) await write(...batch);
    view.destroy();
    await write(['issue', 'update', { id: 'a', title: 'nobody hears of it' }]);
    const rows = await Promise.all([zql.issue, zql.comment, zql.user].map(query => zero.run(query)));
    await write(...rows.flatMap((list, i) => list.map(({ id }) => [['issue', 'comment', 'user'][i], 'delete', { id }])));
  }
  return logs;
}

const comment = (id, issueID) => ({ id, issueID, body: `comment ${id}` });

test('rows that come, change, move and go', () => check(
  zql => zql.issue.orderBy('rank', 'desc'),
  [
    [['issue', 'insert', issue('c', 3)]],
    [['issue', 'update', { id: 'c', title: 'renamed' }]],
    [['issue', 'update', { id: 'c', rank: 0 }]],
    [['issue', 'delete', { id: 'b' }]],
  ],
));

test('related rows, to one and to many', () => check(
  zql => zql.issue.related('comments', q => q.orderBy('id', 'asc')).related('owner'),
  [
    [['comment', 'insert', comment('b1', 'b')]],
    [['comment', 'update', { id: 'b1', body: 'edited' }]],
    [['user', 'update', { id: 'ann', name: 'Anne' }]],
    [['comment', 'delete', { id: 'a1' }]],
    [['user', 'delete', { id: 'ann' }]],
    [['issue', 'update', { id: 'a', title: 'renamed' }]],
    [['issue', 'delete', { id: 'a' }]],
  ],
));

test('a row that belongs to another one from now on has gone and come', () => check(
  zql => zql.issue.related('comments').related('owner'),
  [
    [['issue', 'update', { id: 'a', ownerID: 'bob' }]],
    [['comment', 'update', { id: 'a1', issueID: 'b' }]],
  ],
));

test('windows and single rows', async () => {
  const batches = [
    [['issue', 'insert', issue('c', 3)]],
    [['issue', 'delete', { id: 'c' }]],
    [['issue', 'update', { id: 'b', title: 'renamed' }]],
  ];
  await check(zql => zql.issue.orderBy('rank', 'desc').limit(1), batches);
  await check(zql => zql.issue.orderBy('rank', 'desc').one(), batches);
});

test('rows that begin and cease to answer the query', () => check(
  zql => zql.issue.where('open', true).whereExists('comments').related('owner'),
  [
    [['issue', 'update', { id: 'a', open: false }]],
    [['issue', 'update', { id: 'a', open: true }]],
    [['comment', 'insert', comment('b1', 'b')]],
    [['comment', 'insert', comment('b2', 'b')]],
    [['comment', 'delete', { id: 'b1' }]],
    [['comment', 'delete', { id: 'b2' }]],
  ],
));

test('a row that has come because of a related row: Zero tells of it without that one first', async () => {
  const logs = await told(
    zql => zql.issue.where('id', 'b').whereExists('comments').related('comments'),
    [[['comment', 'insert', comment('b1', 'b')]]],
  );
  const related = [comment('b1', 'b')];
  assert.deepEqual(logs.landfall.slice(2), [['add', { ...issue('b', 2), comments: related }], 'commit']);
  assert.deepEqual(logs.zero.slice(2), [
    ['add', { ...issue('b', 2), comments: [] }], ['child', 'b', 'comments', ['add', related[0]]], 'commit',
  ]);
});

test('Zero’s own array view stands on our input as well', async () => {
  const { zero, zql, write } = clients.landfall;
  const queries = [
    zql.issue.orderBy('rank', 'desc').related('comments').related('owner'),
    zql.issue.orderBy('title', 'asc').limit(2).related('comments', q => q.orderBy('body', 'desc').limit(1)),
    zql.issue.where('open', true).whereExists('comments').one(),
  ];
  const pairs = queries.map(query => [
    zero.materialize(query),
    zero.materialize(query, (_query, input, format, onDestroy, onTransactionCommit, queryComplete, updateTTL) => {
      const view = new ArrayView(input, format, queryComplete, updateTTL);
      view.onDestroy = onDestroy;
      onTransactionCommit(() => view.flush());
      return view;
    }),
  ]);
  let state = 11;
  const pick = (...values) => values[(state = (state * 48271) % 0x7fffffff) % values.length];
  const ids = ['a', 'b', 'c', 'd'];
  for (let step = 0; step < 60; step++) {
    await write(...Array.from({ length: pick(1, 1, 4) }, () => pick(
      ['issue', 'upsert', issue(pick(...ids), pick(0, 1, 2), { title: pick(...ids), open: pick(true, false), ownerID: pick('ann', 'bob') })],
      ['issue', 'delete', { id: pick(...ids) }],
      ['comment', 'upsert', { id: pick(...ids), issueID: pick(...ids), body: pick(...ids) }],
      ['comment', 'delete', { id: pick(...ids) }],
      ['user', pick('upsert', 'delete'), { id: pick('ann', 'bob'), name: pick(...ids) }],
    )));
    for (const [view, own] of pairs) assert.deepEqual(own.data && structuredClone(own.data), view.data && structuredClone(view.data), `step ${step}`);
  }
});

test('several rows in one transaction', () => check(
  zql => zql.issue.orderBy('rank', 'asc'),
  [[['issue', 'delete', { id: 'a' }], ['issue', 'update', { id: 'b', title: 'renamed' }], ['issue', 'insert', issue('c', 3)]]],
));
