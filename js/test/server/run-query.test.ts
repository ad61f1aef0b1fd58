import {describe, expect, test} from 'vitest';
import type {AST, Condition, SimpleOperator} from '../../src/query/ast.js';
import {builderFor} from '../../src/query/create-builder.js';
import {asQueryInternals} from '../../src/query/internals.js';
import type {AnyQuery} from '../../src/query/query.js';
import {boolean, json, number, string} from '../../src/schema/column.js';
import {relationships} from '../../src/schema/relationships.js';
import {createSchema} from '../../src/schema/schema.js';
import {table} from '../../src/schema/table.js';
import {zeroNodePg} from '../../src/server/adapters/pg.js';
import {serverSchemaOf} from './server-schema-of.js';
import {useTestDatabase} from './test-database.js';

const item = table('item')
  .from('app.items')
  .columns({
    id: string(),
    n: number().optional(),
    big: number().optional(),
    ratio: number().optional().from('the ratio'),
    real: number().optional(),
    price: number().optional(),
    ok: boolean().optional(),
    title: string().optional(),
    fixed: string().optional(),
    uid: string().optional(),
    kind: string<'low' | 'high' | 'mid'>().optional(),
    host: string().optional(),
    meta: json().optional(),
    day: number().optional(),
    at: number().optional(),
    atz: number().optional(),
    clock: number().optional(),
    clockz: number().optional(),
    tags: json<string[]>().optional(),
    days: json().optional(),
    grid: json().optional(),
    bigs: json().optional(),
    parent: string().optional(),
  })
  .primaryKey('id');
const tag = table('tag').columns({id: string(), name: string()}).primaryKey('id');
const itemTag = table('itemTag').columns({tag: string(), item: string(), rank: number()}).primaryKey('item', 'tag');
const mixed = table('mixed')
  .columns({id: string(), c: string(), icu: string(), fixed: string(), big: number(), real: number(), day: number(), at: number()})
  .primaryKey('id');
const cell = table('cell').columns({b: number(), a: string(), v: number().optional()}).primaryKey('b', 'a');

const schema = createSchema({
  tables: [item, tag, itemTag, cell, mixed],
  relationships: [
    relationships(item, ({one, many}) => ({
      up: one({sourceField: ['parent'], destField: ['id'], destSchema: item}),
      kids: many({sourceField: ['id'], destField: ['parent'], destSchema: item}),
      links: many({sourceField: ['id'], destField: ['item'], destSchema: itemTag}),
      labels: many(
        {sourceField: ['id'], destField: ['item'], destSchema: itemTag},
        {sourceField: ['tag'], destField: ['id'], destSchema: tag},
      ),
    })),
    relationships(itemTag, ({one}) => ({
      label: one({sourceField: ['tag'], destField: ['id'], destSchema: tag}),
    })),
  ],
});

const database = useTestDatabase(`
  CREATE SCHEMA app;
  CREATE TYPE app.kind AS ENUM ('low', 'mid', 'high');
  CREATE TABLE app.items (
    id text PRIMARY KEY, n int, big bigint, "the ratio" double precision, "real" real, price numeric(12, 3),
    ok boolean, title varchar(80), fixed char(4), uid uuid, kind app.kind, host inet, meta jsonb,
    day date, at timestamp, atz timestamptz, clock time, clockz timetz,
    tags text[], days date[], grid float8[], bigs int8[], parent text, hidden bytea
  );
  CREATE TABLE tag (id text PRIMARY KEY, name text NOT NULL COLLATE "C");
  CREATE TABLE "itemTag" (tag text, item text, rank int NOT NULL, PRIMARY KEY (item, tag));
  CREATE TABLE cell (b int, a text, v int, PRIMARY KEY (b, a));
  CREATE TABLE mixed (
    id text PRIMARY KEY, c text COLLATE "C", icu text COLLATE "und-x-icu", fixed char(3), big int8, "real" real, day date, at timestamp
  );
  INSERT INTO mixed VALUES ('1', 'x', 'x', 'x', 1, 1, '2024-01-02', '2024-01-02'), ('2', 'y', 'x', 'y', 1, 2.5, '2024-01-02', '2024-01-03');
  INSERT INTO app.items VALUES
    ('a', 1, 9007199254740991, 0.1, 0.1, 12.340, true, 'Straße 😀', 'ab',
     '00000000-0000-0000-0000-00000000000a', 'low', '10.0.0.1', '{"x": [1, null, "ü"], "s": "a\\"b"}',
     '2024-02-29', '2023-11-14 22:13:20.123456', '2023-11-14 22:13:20.123456+02', '01:02:03.0045', '23:30:00-01',
     '{x,"y,z",NULL,"q\\"\\\\"}', '{2024-01-01,NULL}', '{{1,2.5,NaN},{3,4,NULL}}', '{1,NULL}', NULL),
    ('b', -5, NULL, 'NaN', NULL, NULL, false, 'O''Brien 100%_\\', 'abcd', NULL, 'mid', '10.0.0.0/8', 'null',
     'infinity', NULL, '-infinity', '24:00', '00:30:00+01', '{}', NULL, '{}', NULL, 'a'),
    ('B', NULL, 7, 2.5, 1e30, 0.001, NULL, 'KELVIN ', NULL, 'ffffffff-0000-0000-0000-00000000000a', 'high', '::1', '5',
     '0044-03-15 BC', '12345-01-01', NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'a'),
    ('ä', 2, 0, -0.5, NULL, NULL, true, NULL, NULL, NULL, NULL, NULL, '[]', NULL, NULL, NULL, NULL, NULL, NULL, NULL,
     NULL, NULL, 'b'),
    ('～', 2, NULL, NULL, NULL, NULL, true, 'kelvin', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
     NULL, NULL, NULL, 'nobody'),
    ('😀', 3, NULL, NULL, NULL, NULL, true, 'ΣΑΣ', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
     NULL, NULL, NULL, 'a');
  INSERT INTO tag VALUES ('t1', 'red'), ('t2', 'Blue'), ('t3', 'green');
  INSERT INTO "itemTag" VALUES ('t1', 'a', 2), ('t2', 'a', 1), ('t1', 'b', 1), ('gone', 'b', 2);
  INSERT INTO cell VALUES (1, 'x', 3), (1, 'y', NULL), (2, 'a', 1), (0, 'z', 2);
`);

const db = zeroNodePg(schema, database.pool);
const zql = builderFor(schema, {schema, system: 'client'});

function run(query: AnyQuery): Promise<any> {
  const {ast, format} = asQueryInternals(query);
  return runAST(ast, format);
}

function runAST(ast: AST, format: {singular: boolean; relationships: {}} = {singular: false, relationships: {}}) {
  return db.transaction(async tx => {
    return tx.dbTransaction.runQuery(ast, format, schema, await serverSchemaOf(tx, schema)) as Promise<any>;
  });
}

async function ids(where: Condition | undefined, rest: Partial<AST> = {}): Promise<string> {
  const rows = await runAST({table: 'item', ...(where && {where}), ...rest});
  return rows.map((row: {id: string}) => row.id).join(' ');
}

function cmp(name: string, op: SimpleOperator, value: any): Condition {
  return {type: 'simple', left: {type: 'column', name}, op, right: {type: 'literal', value}};
}

describe('values', () => {
  test('come out as clients see them', async () => {
    expect(await run(zql.item.where('id', 'a').one())).toEqual({
      id: 'a',
      n: 1,
      big: 9007199254740991,
      ratio: 0.1,
      real: 0.1,
      price: 12.34,
      ok: true,
      title: 'Straße 😀',
      fixed: 'ab  ',
      uid: '00000000-0000-0000-0000-00000000000a',
      kind: 'low',
      host: '10.0.0.1',
      meta: {x: [1, null, 'ü'], s: 'a"b'},
      day: Date.UTC(2024, 1, 29),
      at: 1700000000123.456,
      atz: 1700000000123.456 - 7_200_000,
      clock: 3723004,
      clockz: 1_800_000,
      tags: ['x', 'y,z', null, 'q"\\'],
      days: [Date.UTC(2024, 0, 1), null],
      grid: [
        [1, 2.5, null],
        [3, 4, null],
      ],
      bigs: [1, null],
      parent: null,
    });
  });

  test('that JSON has no number for become null', async () => {
    expect(await run(zql.item.where('id', 'b').one())).toMatchObject({
      ratio: null,
      day: null,
      atz: null,
      meta: null,
      clock: 86_400_000,
      clockz: 84_600_000,
      host: '10.0.0.0/8',
      tags: [],
      grid: [],
      fixed: 'abcd',
    });
  });

  test('outside of the common era', async () => {
    const row = await run(zql.item.where('id', 'B').one());
    expect(row.day).toBe(Date.UTC(-43, 2, 15));
    expect(row.at).toBe(Date.UTC(12345, 0, 1));
    expect(row.real).toBe(1e30);
  });

  test('a bigint that JavaScript cannot hold is an error', async () => {
    await database.sql(`UPDATE app.items SET big = 9007199254740993 WHERE id = 'ä'`);
    await expect(run(zql.item.where('id', 'ä'))).rejects.toThrow(/column "big" of table "item" is outside of the whole numbers/);
    await database.sql(`UPDATE app.items SET big = 0, bigs = '{9007199254740993}' WHERE id = 'ä'`);
    await expect(run(zql.item.where('id', 'ä'))).rejects.toThrow(/column "bigs" of table "item" is outside/);
    await database.sql(`UPDATE app.items SET bigs = NULL WHERE id = 'ä'`);
  });
});

describe('conditions', () => {
  // Condition, and the ids it keeps in the order of the primary key.
  const cases: [Condition, string][] = [
    [cmp('n', '=', 2), 'ä ～'],
    [cmp('n', '!=', 2), 'a b 😀'],
    [cmp('n', '=', null), ''],
    [cmp('n', '!=', null), ''],
    [cmp('n', 'IS', null), 'B'],
    [cmp('n', 'IS NOT', null), 'a b ä ～ 😀'],
    [cmp('n', 'IS NOT', 2), 'B a b 😀'],
    [cmp('n', '<', 2), 'a b'],
    [cmp('n', '>=', 1.5), 'ä ～ 😀'],
    [cmp('n', '=', 1.5), ''],
    [cmp('n', '!=', 1.5), 'a b ä ～ 😀'],
    [cmp('n', '=', '2'), ''],
    [cmp('n', 'IS NOT', '2'), 'B a b ä ～ 😀'],
    [cmp('n', '=', 1e300), ''],
    [cmp('n', '<', 1e300), 'a b ä ～ 😀'],
    [cmp('n', 'IN', [1, 3, 'x', 2.5]), 'a 😀'],
    [cmp('n', 'NOT IN', [1, 3]), 'b ä ～'],
    [cmp('n', 'IN', []), ''],
    [cmp('n', 'NOT IN', []), 'B a b ä ～ 😀'],
    [cmp('n', 'IN', null), ''],
    [cmp('n', 'NOT IN', null), ''],
    [cmp('n', 'NOT IN', ['x']), 'a b ä ～ 😀'],
    [cmp('ratio', '=', 0.1), 'a'],
    [cmp('real', '=', 0.1), 'a'],
    [cmp('real', '<', 1e300), 'B a'],
    [cmp('price', '=', 12.34), 'a'],
    [cmp('price', '<', 0.01), 'B'],
    [cmp('ok', '=', false), 'b'],
    [cmp('ok', '<', true), 'b'],
    [cmp('id', '<', 'a'), 'B'],
    [cmp('id', '>', 'ä'), '～ 😀'],
    [cmp('id', '>', '～'), '😀'],
    [cmp('id', '<', 1 as never), 'throws column "id" of table "item" is a string and cannot be compared with a number'],
    [cmp('title', '=', `O'Brien 100%_\\`), 'b'],
    [cmp('title', 'LIKE', '%100\\%\\_\\\\'), 'b'],
    [cmp('title', 'LIKE', '%100\\'), 'throws LIKE pattern must not end with escape character'],
    [cmp('title', 'LIKE', 'Straße _'), 'a'],
    [cmp('title', 'LIKE', 'straße%'), ''],
    [cmp('title', 'NOT LIKE', 'Straße%'), 'B b ～ 😀'],
    [cmp('title', 'ILIKE', 'straSSe%'), ''],
    [cmp('title', 'ILIKE', 'STRAßE%'), 'a'],
    [cmp('title', 'ILIKE', 'kelvin'), '～'],
    [cmp('title', 'ILIKE', '\u212Aelvin%'), 'B ～'],
    [cmp('title', 'ILIKE', 'σας'), '😀'],
    [cmp('title', 'NOT ILIKE', 'K%'), 'a b 😀'],
    [cmp('title', 'LIKE', null), ''],
    [cmp('n', 'LIKE', '1'), 'throws column "n" of table "item" is a number, and LIKE needs a string'],
    [cmp('fixed', '=', 'ab'), ''],
    [cmp('fixed', '=', 'ab  '), 'a'],
    [cmp('uid', '=', '00000000-0000-0000-0000-00000000000a'), 'a'],
    [cmp('uid', '=', '00000000-0000-0000-0000-00000000000A'), ''],
    [cmp('uid', '=', 'nonsense'), ''],
    [cmp('uid', '>', 'nonsense'), ''],
    [cmp('uid', '>', 'b'), 'B'],
    [cmp('uid', 'IN', ['nonsense', '00000000-0000-0000-0000-00000000000a']), 'a'],
    [cmp('uid', 'LIKE', '%a'), 'B a'],
    [cmp('kind', '=', 'mid'), 'b'],
    [cmp('kind', '=', 'unknown'), ''],
    [cmp('kind', '!=', 'unknown'), 'B a b'],
    [cmp('kind', '<', 'low'), 'B'],
    [cmp('host', '=', '10.0.0.1'), 'a'],
    [cmp('host', 'LIKE', '10.%'), 'a b'],
    [cmp('meta', 'IS', null), '～ 😀'],
    [cmp('meta', 'IS NOT', null), 'B a b ä'],
    [cmp('meta', '=', '5'), 'throws column "meta" of table "item" holds JSON'],
    [cmp('tags', '=', 'x'), 'throws column "tags" of table "item" holds JSON'],
    [cmp('day', '=', Date.UTC(2024, 1, 29)), 'a'],
    [cmp('day', '=', Date.UTC(2024, 1, 29) + 1), ''],
    [cmp('day', '<', Date.UTC(2024, 1, 29) + 1), 'B a'],
    [cmp('day', '<', Date.UTC(2024, 1, 29)), 'B'],
    [cmp('at', '=', 1700000000123.456), 'a'],
    [cmp('at', '>', 1700000000123.455), 'B a'],
    [cmp('at', '>', 1700000000123.456), 'B'],
    [cmp('at', '<', 1e300), 'B a'],
    [cmp('at', '=', 1e300), ''],
    [cmp('at', 'IN', [1700000000123.456, 5]), 'a'],
    [cmp('atz', '<=', 1700000000123.456 - 7_200_000), 'a b'],
    [cmp('clock', '=', 3723004), 'a'],
    [cmp('clockz', '<', 2_000_000), 'a'],
    [{type: 'simple', left: {type: 'literal', value: 1}, op: '=', right: {type: 'literal', value: 1}}, 'B a b ä ～ 😀'],
    [{type: 'simple', left: {type: 'literal', value: 'x'}, op: 'LIKE', right: {type: 'literal', value: 'y'}}, ''],
    [{type: 'simple', left: {type: 'literal', value: null}, op: 'IS', right: {type: 'literal', value: null}}, 'B a b ä ～ 😀'],
    [{type: 'simple', left: {type: 'literal', value: 2}, op: 'IN', right: {type: 'literal', value: [1, 2]}}, 'B a b ä ～ 😀'],
    [{type: 'and', conditions: []}, 'B a b ä ～ 😀'],
    [{type: 'or', conditions: []}, ''],
    [{type: 'or', conditions: [cmp('n', '=', 1), {type: 'and', conditions: [cmp('n', '>', 1), cmp('ok', '=', true)]}]}, 'a ä ～ 😀'],
    [cmp('nope', '=', 1), 'throws unknown column "nope" of "item" table'],
    [
      {type: 'simple', left: {type: 'column', name: 'n'}, op: '=', right: {type: 'static', anchor: 'authData', field: 'sub'}},
      'throws static values should be resolved',
    ],
  ];
  // The order of the ids is by UTF-8 bytes: B a b ä ～ 😀.
  test.each(cases)('%j', async (condition, expected) => {
    if (expected.startsWith('throws ')) {
      await expect(ids(condition)).rejects.toThrow(expected.slice('throws '.length));
    } else {
      expect(await ids(condition)).toBe(expected);
    }
  });

  test('text that Postgres cannot hold equals nothing', async () => {
    expect(await ids(cmp('title', '=', 'a\0'))).toBe('');
  });
});

describe('order, limit and start', () => {
  test('NULL comes first upwards and last downwards, the key breaks ties upwards', async () => {
    expect(await ids(undefined, {orderBy: [['n', 'asc']]})).toBe('B b a ä ～ 😀');
    expect(await ids(undefined, {orderBy: [['n', 'desc']]})).toBe('😀 ä ～ a b B');
    expect(await ids(undefined, {orderBy: [['kind', 'desc']]})).toBe('b a B ä ～ 😀');
    expect(await ids(undefined, {orderBy: [['title', 'asc']], limit: 3})).toBe('ä B b');
    expect(await ids(undefined, {limit: 0})).toBe('');
    await expect(ids(undefined, {orderBy: [['meta', 'asc']]})).rejects.toThrow('column "meta" of table "item" holds JSON, which has no order');
    await expect(ids(undefined, {limit: 1.5})).rejects.toThrow('A limit must be a whole number');
  });

  test('a compound key is used in declared order', async () => {
    const rows = await run(zql.cell.orderBy('v', 'asc'));
    expect(rows).toEqual([
      {b: 1, a: 'y', v: null},
      {b: 2, a: 'a', v: 1},
      {b: 0, a: 'z', v: 2},
      {b: 1, a: 'x', v: 3},
    ]);
    expect((await run(zql.cell)).map((row: any) => row.b + row.a)).toEqual(['0z', '1x', '1y', '2a']);
  });

  // For every row as the bound: what comes after it is the rest of the list.
  test.each([
    [[['n', 'asc']]],
    [[['n', 'desc']]],
    [[['n', 'desc'], ['id', 'desc']]],
    [[['title', 'asc']]],
    [[['kind', 'desc']]],
    [[['at', 'asc'], ['ok', 'desc']]],
    [[['uid', 'desc']]],
    [[['clock', 'asc']]],
    [[['price', 'desc'], ['real', 'asc']]],
  ] as [NonNullable<AST['orderBy']>][])('start walks %j', async orderBy => {
    const all: any[] = await runAST({table: 'item', orderBy});
    expect(all).toHaveLength(6);
    for (const [i, row] of all.entries()) {
      const bound = {id: row.id, ...Object.fromEntries(orderBy.map(([name]) => [name, row[name]]))};
      expect(await runAST({table: 'item', orderBy, start: {row: bound, exclusive: true}})).toEqual(all.slice(i + 1));
      expect(await runAST({table: 'item', orderBy, start: {row: bound, exclusive: false}})).toEqual(all.slice(i));
    }
  });

  test('what the bound leaves out counts as NULL', async () => {
    expect(await ids(undefined, {orderBy: [['n', 'asc']], start: {row: {n: 2}, exclusive: true}})).toBe('ä ～ 😀');
    const orderBy: AST['orderBy'] = [['n', 'asc'], ['id', 'desc']];
    expect(await ids(undefined, {orderBy, start: {row: {n: 2}, exclusive: true}})).toBe('😀');
    expect(await ids(undefined, {orderBy, start: {row: {}, exclusive: true}})).toBe('b a ～ ä 😀');
  });
});

describe('relationships', () => {
  test('one, many and nested, each with its own conditions', async () => {
    const rows = await run(
      zql.item
        .where('n', '>', -10)
        .orderBy('n', 'asc')
        .limit(3)
        .related('up', q => q.related('kids', k => k.orderBy('n', 'desc').limit(2)))
        .related('kids', q => q.where('n', 'IS NOT', null)),
    );
    const shape = rows.map((row: any) => [
      row.id,
      row.up && [row.up.id, row.up.kids.map((k: any) => k.id)],
      row.kids.map((k: any) => k.id),
    ]);
    expect(shape).toEqual([
      ['b', ['a', ['😀', 'b']], ['ä']],
      ['a', undefined, ['b', '😀']],
      ['ä', ['b', ['ä']], []],
    ]);
    expect(rows[0].up.at).toBe(1700000000123.456);
    expect(Object.hasOwn(rows[1], 'up')).toBe(true);
  });

  test('through a junction: each destination once, in its own order', async () => {
    await database.sql(`INSERT INTO "itemTag" VALUES ('t3', 'a', 0)`);
    const rows = await run(zql.item.where('id', 'IN', ['a', 'b']).related('labels'));
    expect(rows.map((row: any) => row.labels)).toEqual([
      [
        {id: 't1', name: 'red'},
        {id: 't2', name: 'Blue'},
        {id: 't3', name: 'green'},
      ],
      [{id: 't1', name: 'red'}],
    ]);
    const two = await run(zql.item.where('id', 'a').related('links', q => q.orderBy('rank', 'asc').related('label')).one());
    expect(two.links.map((link: any) => [link.rank, link.label.name])).toEqual([
      [0, 'green'],
      [1, 'Blue'],
      [2, 'red'],
    ]);
    const gone = await run(zql.itemTag.where('tag', 'gone').related('label').one());
    expect(gone.label).toBeUndefined();
  });

  test('a hidden junction takes limit and order on its destination', async () => {
    const base = asQueryInternals(zql.item.where('id', 'a').related('labels'));
    const [hop] = base.ast.related!;
    const [second] = hop!.subquery.related!;
    const ast: AST = {
      ...base.ast,
      related: [
        {
          ...hop!,
          subquery: {
            ...hop!.subquery,
            related: [{...second!, subquery: {...second!.subquery, orderBy: [['name', 'desc']], limit: 2}}],
          },
        },
      ],
    };
    const [row] = await runAST(ast, base.format as never);
    expect(row.labels.map((label: any) => label.name)).toEqual(['red', 'green']);
  });

  test('one() gives one row or undefined', async () => {
    expect(await run(zql.item.where('id', 'missing').one())).toBeUndefined();
    expect((await run(zql.item.orderBy('id', 'desc').one())).id).toBe('😀');
  });
});

describe('joins of columns whose types differ', () => {
  // For each pair of columns: which rows of `mixed` the row '1' finds by it.
  test.each([
    ['c', 'icu', '1 2'],
    ['icu', 'c', '1'],
    ['c', 'fixed', ''],
    ['big', 'real', '1'],
    ['real', 'big', '1 2'],
    ['day', 'at', '1'],
    ['at', 'day', '1 2'],
  ])('%s = %s', async (parent, child, expected) => {
    const [row] = await joined(parent, child);
    expect(row.found.map((found: any) => found.id).join(' ')).toBe(expected);
  });

  test('text is never a number', async () => {
    await expect(joined('c', 'big')).rejects.toThrow('cannot be joined: they hold values of different types');
  });

  const joined = (parent: string, child: string) =>
    runAST({
      table: 'mixed',
      where: cmp('id', '=', '1'),
      related: [{correlation: {parentField: [parent], childField: [child]}, subquery: {table: 'mixed', alias: 'found'}}],
    });
});

describe('EXISTS', () => {
  const queries: [string, AnyQuery, string][] = [
    ['plain', zql.item.whereExists('kids'), 'a b'],
    ['with a condition', zql.item.whereExists('kids', q => q.where('n', 2)), 'b'],
    ['a limit does not matter', zql.item.whereExists('kids', q => q.limit(1)), 'a b'],
    ['except zero', zql.item.whereExists('kids', q => q.limit(0)), ''],
    ['not', zql.item.where(({not, exists}) => not(exists('kids'))), 'B ä ～ 😀'],
    ['not, and NULL on the parent side', zql.item.where(({not, exists}) => not(exists('up'))), 'a ～'],
    ['nested', zql.item.whereExists('up', q => q.whereExists('up')), 'ä'],
    ['through a junction', zql.item.whereExists('labels', q => q.where('name', 'red')), 'a b'],
    ['flip changes nothing', zql.item.whereExists('labels', q => q.where('name', 'red'), {flip: true}), 'a b'],
    ['in or', zql.item.where(({or, cmp, exists}) => or(cmp('n', 3), exists('links'))), 'a b 😀'],
  ];
  test.each(queries)('%s', async (_name, query, expected) => {
    expect((await run(query)).map((row: any) => row.id).join(' ')).toBe(expected);
  });
});

describe('a hostile AST', () => {
  test('names are quoted', async () => {
    const evil = 'x"; DROP TABLE tag; --';
    await expect(ids(cmp(evil, '=', 1))).rejects.toThrow('unknown column');
    await expect(runAST({table: evil})).rejects.toThrow('unknown table');
    const rows = await runAST({
      table: 'item',
      where: cmp('id', '=', 'b'),
      related: [{correlation: {parentField: ['parent'], childField: ['id']}, subquery: {table: 'item', alias: evil}}],
    });
    expect(rows[0][evil].map((row: any) => row.id)).toEqual(['a']);
    expect(await database.sql('SELECT count(*)::int AS n FROM tag')).toEqual([{n: 3}]);
  });
});
