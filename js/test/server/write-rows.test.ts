import {describe, expect, test} from 'vitest';
import {createBuilder} from '../../src/query/create-builder.js';
import {boolean, json, number, string} from '../../src/schema/column.js';
import {createSchema} from '../../src/schema/schema.js';
import {table} from '../../src/schema/table.js';
import {zeroNodePg} from '../../src/server/adapters/pg.js';
import {SchemaIncompatibleError} from '../../src/server/index.js';
import {useTestDatabase} from './test-database.js';

const thing = table('thing')
  .from('app.things')
  .columns({
    id: string(),
    n: number().optional(),
    big: number().optional(),
    price: number().optional(),
    ok: boolean().optional(),
    title: string().optional().from('the title'),
    uid: string().optional(),
    kind: string<'low' | 'high'>().optional(),
    doc: json().optional(),
    docb: json().optional(),
    day: number().optional(),
    at: number().optional(),
    atz: number().optional(),
    clock: number().optional(),
    clockz: number().optional(),
    tags: json<(string | null)[]>().optional(),
    grid: json().optional(),
    moments: json().optional(),
    docs: json().optional(),
    made: string().optional(),
  })
  .primaryKey('id');
const pair = table('pair').columns({b: number(), a: string(), v: number().optional()}).primaryKey('b', 'a');
const schema = createSchema({tables: [thing, pair]});
const zql = createBuilder(schema);

const database = useTestDatabase(`
  CREATE SCHEMA app;
  CREATE TYPE app."Kind" AS ENUM ('low', 'high');
  CREATE TABLE app.things (
    id varchar(5) PRIMARY KEY, n int, big int8, price numeric(10, 2), ok bool, "the title" varchar(10), uid uuid,
    kind app."Kind", doc json, docb jsonb, day date, at timestamp, atz timestamptz, clock time, clockz timetz,
    tags text[], grid int[], moments timestamptz[], docs jsonb[], made text DEFAULT 'by the database'
  );
  CREATE TABLE pair (b int, a text, v int, PRIMARY KEY (a, b));
  CREATE TABLE bad (id text PRIMARY KEY, n text, raw bytea, whole int);
  CREATE TABLE "noKey" (id text);
`);
const db = zeroNodePg(schema, database.pool);

async function stored(id: string): Promise<{[column: string]: unknown}> {
  const [row] = await database.sql(`SELECT row_to_json(t) AS row FROM app.things t WHERE id = $1`, [id]);
  return row?.['row'];
}

describe('insert', () => {
  const full = {
    id: 'full',
    n: -3,
    big: 9007199254740991,
    price: 12.5,
    ok: true,
    title: `q'"\\ 😀 é`,
    uid: '00000000-0000-0000-0000-00000000000a',
    kind: 'high' as const,
    doc: {a: [1, null, {b: 'ü'}]},
    docb: 'text',
    day: Date.UTC(2024, 1, 29),
    at: 1700000000123.456,
    atz: -62135596800000.5,
    clock: 3723004,
    clockz: 86399999,
    tags: ['a', 'b,"c"\\', null, '', 'NULL', '{}'],
    grid: [
      [1, 2],
      [3, 4],
    ],
    moments: [1700000000123, null],
    docs: [{a: 1}, [1, 2], 'x'],
    made: null,
  };

  test('writes every type so that it reads back the same', async () => {
    const read = await db.transaction(async tx => {
      await tx.mutate.thing.insert(full);
      return tx.run(zql.thing.where('id', 'full').one());
    });
    expect(read).toEqual(full);
    expect(await stored('full')).toMatchObject({
      day: '2024-02-29',
      at: '2023-11-14T22:13:20.123456',
      clock: '01:02:03.004',
      clockz: '23:59:59.999+00',
      kind: 'high',
      docb: 'text',
      tags: full.tags,
    });
  });

  test('leaves columns that are not given to the database, and an existing row alone', async () => {
    await db.transaction(tx => tx.mutate.thing.insert({id: 'd', n: undefined, title: 'first'}));
    expect(await stored('d')).toMatchObject({made: 'by the database', n: null, 'the title': 'first'});
    await db.transaction(tx => tx.mutate.thing.insert({id: 'd', title: 'second'}));
    expect(await stored('d')).toMatchObject({'the title': 'first'});
  });

  const wrong: [string, {}, string | RegExp][] = [
    ['text too long is not cut', {title: 'x'.repeat(11)}, 'too long'],
    ['a fraction for an integer', {n: 1.5}, 'invalid input syntax for type integer'],
    ['a number for text', {title: 5}, /"title".*holds a string/],
    ['NaN', {price: NaN}, /"price".*holds a number/],
    ['an unknown enum label', {kind: 'middle'}, 'invalid input value for enum'],
    ['not a uuid', {uid: 'x'}, 'invalid input syntax for type uuid'],
    ['an object for an array', {tags: {a: 1}}, 'takes an array'],
    ['a number in a text array', {tags: [1]}, 'takes a string'],
    ['a moment beyond all calendars', {at: 1e300}, 'cannot hold the moment'],
    ['a time of day beyond the day', {clock: 86_400_001}, 'milliseconds since midnight'],
    ['U+0000', {title: 'a\0b'}, 'U+0000'],
    ['an unknown column', {nope: 1}, /Unknown column "nope"/],
  ];
  test.each(wrong)('refuses %s', async (_name, value, message) => {
    await expect(db.transaction(tx => tx.mutate.thing.insert({id: 'bad', ...value}))).rejects.toThrow(message);
    expect(await stored('bad')).toBeUndefined();
  });
});

describe('upsert, update and delete', () => {
  test('upsert makes the row and then changes only what is given', async () => {
    await db.transaction(tx => tx.mutate.thing.upsert({id: 'u', n: 1, title: 'one'}));
    await db.transaction(tx => tx.mutate.thing.upsert({id: 'u', n: 2}));
    expect(await stored('u')).toMatchObject({n: 2, 'the title': 'one'});
    await db.transaction(tx => tx.mutate.thing.upsert({id: 'u'}));
    expect(await stored('u')).toMatchObject({n: 2});
  });

  test('update changes what is given, null included, and makes nothing', async () => {
    await db.transaction(async tx => {
      await tx.mutate.thing.insert({id: 'up', n: 1, title: 'one', doc: [1]});
      await tx.mutate.thing.update({id: 'up', n: null, title: undefined, doc: {b: 2}});
      await tx.mutate.thing.update({id: 'none', n: 5});
      await tx.mutate.thing.update({id: 'up'});
    });
    expect(await stored('up')).toMatchObject({n: null, 'the title': 'one', doc: {b: 2}});
    expect(await stored('none')).toBeUndefined();
  });

  test('a compound key is matched whole, in any order', async () => {
    await db.transaction(async tx => {
      await tx.mutate.pair.insert({a: 'x', b: 1, v: 1});
      await tx.mutate.pair.insert({a: 'x', b: 2, v: 2});
      await tx.mutate.pair.upsert({b: 2, a: 'x', v: 3});
      await tx.mutate.pair.delete({b: 1, a: 'x'});
      await tx.mutate.pair.delete({b: 9, a: 'x'});
    });
    expect(await database.sql('SELECT * FROM pair')).toEqual([{b: 2, a: 'x', v: 3}]);
    await expect(db.transaction(tx => tx.mutate.pair.delete({b: 2} as never))).rejects.toThrow(/primary key column "a"/);
  });
});

describe('transactions', () => {
  test('roll back as one', async () => {
    const failing = db.transaction(async tx => {
      await tx.mutate.thing.insert({id: 'r1'});
      throw new Error('no');
    });
    await expect(failing).rejects.toThrow('no');
    expect(await stored('r1')).toBeUndefined();
  });

  test('a statement that failed unheard does not pass for a commit', async () => {
    const failing = db.transaction(async tx => {
      await tx.mutate.thing.insert({id: 'r2'});
      await tx.dbTransaction.query('SELECT 1 / 0', []).catch(() => {});
      return 'fine';
    });
    await expect(failing).rejects.toThrow('rolled back because one of its statements had failed');
    expect(await stored('r2')).toBeUndefined();
  });

  test('on a single client wait for each other', async () => {
    const client = await database.pool.connect();
    try {
      const single = zeroNodePg(schema, client as Omit<typeof client, 'release'>);
      const results = await Promise.allSettled(
        ['s1', 's2', 's3'].map((id, i) =>
          single.transaction(async tx => {
            await tx.mutate.thing.insert({id});
            await new Promise(resolve => setTimeout(resolve, 5));
            if (i === 1) {
              throw new Error('middle');
            }
          }),
        ),
      );
      expect(results.map(({status}) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
      expect([await stored('s1'), await stored('s2'), await stored('s3')].map(Boolean)).toEqual([true, false, true]);
    } finally {
      client.release();
    }
  });

  test('open a pool of their own for a URL', async () => {
    const own = zeroNodePg(schema, database.url);
    await own.transaction(tx => tx.mutate.thing.insert({id: 'url'}));
    expect(await stored('url')).toMatchObject({id: 'url'});
  });
});

describe('a schema that does not fit', () => {
  test('is refused with everything that is wrong', async () => {
    const bad = table('bad')
      .columns({id: string(), n: number(), raw: string(), missing: string(), whole: json()})
      .primaryKey('id');
    const absent = table('absent').from('other.absent').columns({id: string()}).primaryKey('id');
    const noKey = table('noKey').columns({id: string()}).primaryKey('id');
    const wrong = zeroNodePg(createSchema({tables: [bad, absent, noKey]}), database.pool);
    const error = await wrong.transaction(() => 'unreachable').catch((e: unknown) => e);
    expect(error).toBeInstanceOf(SchemaIncompatibleError);
    expect((error as SchemaIncompatibleError).problems).toEqual([
      'bad.n is declared as number, but its database type text is read as string.',
      'bad.raw has the database type bytea, which cannot be synced.',
      'public.bad has no column "missing".',
      'bad.whole is declared as json, but its database type integer is read as number.',
      'Table "absent" needs other.absent, which does not exist.',
      'public.noKey has no primary key or unique index over exactly (id).',
    ]);
  });

  test('is read again after the database has changed', async () => {
    const late = table('late').columns({id: string(), extra: number()}).primaryKey('id');
    await database.sql('CREATE TABLE late (id text PRIMARY KEY, extra int)');
    const own = zeroNodePg(createSchema({tables: [late]}), database.pool);
    await own.transaction(tx => tx.mutate.late.insert({id: '1', extra: 1}));
    await database.sql('ALTER TABLE late ALTER COLUMN extra TYPE timestamptz USING to_timestamp(extra)');
    await expect(own.transaction(tx => tx.mutate.late.insert({id: '2', extra: 1000}))).rejects.toThrow();
    await own.transaction(tx => tx.mutate.late.insert({id: '2', extra: 1000}));
    expect(await database.sql('SELECT extract(epoch FROM extra)::int AS s FROM late ORDER BY id')).toEqual([{s: 1}, {s: 1}]);
  });
});
