// One random program on the clients of both packages, beside a server that pokes, confirms and refuses: an application sees the same.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { FakeServer, FakeSocket } from './fake-server.js';
import { makeQuery, makeSchema, Random, randomQuery, randomRow, randomTables, randomWrite } from './random-app.js';

globalThis.WebSocket = FakeSocket;
// Where clients show themselves to developers: either package takes all that are there for its own.
Object.defineProperty(globalThis, '__zero', { get: () => ({}), set() {} });
const packages = [await import('@rocicorp/zero'), await import('../../js/dist/index.js')];

const STEPS = 20;
/** Programs that run at once. */
const WIDTH = 6;
const PATIENCE_MS = 20_000;

/** Rows that tell how far a client has followed. */
const marks = {
  name: 'mark', columns: [{ name: 'id', type: 'string', isOptional: false }, { name: 'n', type: 'number', isOptional: false }],
  primaryKey: ['id'], relationships: [],
};

/** What both clients do, and what the database has: rows by table and key. */
function randomProgram(random) {
  const tables = randomTables(random);
  const queries = Array.from({ length: 5 }, () => randomQuery(random, tables, random.pick(tables), 2));
  const pick = () => random.pick(tables);
  const poke = most => () => random.list(most, () => {
    const table = pick();
    return [random.chance(4) ? 'delete' : 'upsert', table.name, randomRow(random, table)];
  });
  const kinds = {
    poke: poke(5),
    mutate: () => ({ writes: random.list(3, () => randomWrite(random, tables)), how: random.pick(['', '', '', 'throws', 'waits']) }),
    confirm: () => ({ count: 1 + random.below(3), refused: random.list(3, () => random.chance(3)) }),
    open: () => ({ query: random.below(queries.length), as: random.pick(['drawn', 'drawn', 'drawn', 'refused', 'local']) }),
    close: () => random.below(4),
    run: () => random.below(queries.length),
  };
  const often = ['poke', 'poke', 'mutate', 'mutate', 'mutate', 'confirm', 'confirm', 'open', 'open', 'close', 'run'];
  const step = kind => [kind, kinds[kind]()];
  const steps = [['poke', poke(30)()], step('open'), ...Array.from({ length: STEPS }, () => step(random.pick(often)))];
  return { tables: [...tables, marks], queries, steps };
}

/** The database of one client's server. */
class Rows {
  #tables;
  #rows = new Map();

  constructor(tables) {
    this.#tables = new Map(tables.map(table => [table.name, table]));
  }

  /** Carries writes out; gives what a poke says of them. */
  write(writes) {
    const patch = new Map();
    for (const [op, name, row] of writes) {
      const table = this.#tables.get(name);
      const key = JSON.stringify([name, ...table.primaryKey.map(column => row[column])]);
      const before = this.#rows.get(key);
      if (op === 'insert' ? before !== undefined : op !== 'upsert' && before === undefined) continue;
      const tableName = table.from ?? name;
      if (op === 'delete') {
        this.#rows.delete(key);
        patch.set(key, { op: 'del', tableName, id: Object.fromEntries(table.primaryKey.map(column => [column, row[column]])) });
      } else {
        const after = { ...(before ?? Object.fromEntries(table.columns.map(column => [column.name, null]))), ...row };
        this.#rows.set(key, after);
        const value = Object.fromEntries(table.columns.map(column => [column.from ?? column.name, after[column.name]]));
        patch.set(key, { op: 'put', tableName, value });
      }
    }
    return [...patch.values()];
  }
}

/** What Zero's engine says when it has lost its way, one program in thousands; its client does not recover. */
const faultOfZero = 'node does not exist';

const plain = value => value === undefined ? 'nothing' : JSON.parse(JSON.stringify(value));

/** Runs the program with the client of one package; gives what the application saw, step by step. */
async function play(pkg, { tables, queries, steps }, seed) {
  const server = new FakeServer();
  const { schema, zql } = makeSchema(pkg, tables);
  const drawn = queries.map(query => makeQuery(zql[query.table], query));
  const named = pkg.defineQueries({
    drawn: pkg.defineQuery(({ args }) => drawn[args]),
    refused: pkg.defineQuery(({ args: [query] }) => drawn[query]),
    marks: pkg.defineQuery(() => zql.mark),
  });
  const mutators = pkg.defineMutators({
    write: pkg.defineMutator(async ({ tx, args: { writes, how } }) => {
      if (how === 'waits') await pause(1);
      for (const [op, table, row] of writes) await tx.mutate[table][op](row);
      if (how === 'throws') throw new pkg.ApplicationError('thrown', { details: { writes: writes.length } });
    }),
  });
  let fault;
  const log = (_level, _context, ...args) => (fault ??= args.find(it => it?.message === faultOfZero));
  const zero = new pkg.Zero({ schema, mutators, userID: `${seed}`, cacheURL: server.url, kvStore: 'mem', logSink: { log } });
  const until = async (what, holds) => {
    for (const end = Date.now() + PATIENCE_MS; !holds();) {
      if (fault !== undefined) throw fault;
      if (Date.now() > end) throw new Error(`not in time: ${what}`);
      await pause(2);
    }
  };
  const database = new Rows(tables);
  const views = [];
  const servers = new Map();
  const outcomes = [];
  const seen = [];
  const marked = zero.materialize(named.marks());
  let mark = 0;
  const poke = (writes, send) => {
    send(database.write([...writes, ['upsert', 'mark', { id: 'mark', n: ++mark }]]));
    return until('a poke has arrived', () => marked.data[0]?.n === mark);
  };
  try {
    await until('the client has connected', () => server.isConnected);
    for (const [kind, what] of steps) {
      const told = [];
      switch (kind) {
        case 'poke':
          await poke(what, rowsPatch => server.poke({ rowsPatch }));
          break;
        case 'mutate': {
          const { client, server: confirmed } = zero.mutate(mutators.write(what));
          told.push(await client);
          if (what.how !== 'throws') servers.set(servers.size + 1, confirmed);
          await until('a mutation is pushed', () => server.pushed.length === servers.size - outcomes.length);
          break;
        }
        case 'confirm': {
          const ended = server.pushed.slice(0, what.count);
          if (ended.length === 0) break;
          const refused = ended.filter((_, i) => what.refused[i]);
          const failures = new Map(refused.map(({ id }) => [id, { error: 'app', message: 'refused', details: { id } }]));
          const writes = ended.flatMap(({ id, args: [{ writes: all }] }) => failures.has(id) ? [] : all);
          await poke(writes, rowsPatch => server.confirm(ended, failures, { rowsPatch }));
          for (const { id } of ended) outcomes.push(await servers.get(id));
          told.push(...outcomes.slice(-ended.length));
          break;
        }
        case 'open': {
          // The second view of a query that was refused is told so by our client only: each has arguments of its own.
          const query = { drawn: named.drawn(what.query), refused: named.refused([what.query, seen.length]), local: drawn[what.query] }[what.as];
          const view = zero.materialize(query);
          const calls = [];
          view.addListener((data, type, error) => calls.push([data, type, error]));
          await until('a query is answered', () => what.as === 'local' || calls.at(-1)[1] !== 'unknown');
          views.push({ view, calls });
          break;
        }
        case 'close':
          views.splice(what, 1).forEach(({ view }) => view.destroy());
          break;
        case 'run':
          told.push(await zero.run(drawn[what]));
      }
      if (fault !== undefined) throw fault;
      seen.push([kind, plain(told), ...views.map(({ view, calls }) => {
        assert.equal(calls.at(-1)[0], view.data, 'a listener has what the view has');
        return plain(calls.at(-1));
      })]);
    }
  } finally {
    await zero.close();
  }
  return seen;
}

test('random programs show the same in either client', async t => {
  const end = Date.now() + Number(process.env.LANDFALL_TEST_SECONDS ?? 5) * 1000;
  let seed = Number(process.env.LANDFALL_TEST_SEED ?? 1);
  let compared = 0;
  const compare = async own => {
    const program = randomProgram(new Random(own));
    const results = await Promise.allSettled(packages.map(pkg => play(pkg, program, own)));
    if (results[0].reason?.message === faultOfZero) return;
    for (const { reason } of results) if (reason !== undefined) throw new Error(`seed ${own}: ${reason.stack}`);
    const [theirs, ours] = results.map(({ value }) => value);
    theirs.forEach((step, i) => assert.deepEqual(ours[i], step, `seed ${own}, step ${i}: ${JSON.stringify([program.steps[i], program.queries])}`));
    compared++;
  };
  do {
    await Promise.all(Array.from({ length: WIDTH }, () => compare(seed++)));
  } while (Date.now() < end);
  t.diagnostic(`${compared} programs`);
  assert.ok(compared > 0);
});
