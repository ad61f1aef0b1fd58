/** Columns of domains are read, compared and written as the type below. */
import {expect, test} from 'vitest';
import {createBuilder} from '../../src/index.js';
import {json, number, string} from '../../src/schema/column.js';
import {createSchema} from '../../src/schema/schema.js';
import {table} from '../../src/schema/table.js';
import {zeroNodePg} from '../../src/server/adapters/pg.js';
import {useTestDatabase} from './test-database.js';

const article = table('article')
  .columns({id: string(), price: number(), day: number(), tags: json<string[]>(), meta: json()})
  .primaryKey('id');
const schema = createSchema({tables: [article]});
const database = useTestDatabase(`
  CREATE DOMAIN code AS text CHECK (length(VALUE) < 9);
  CREATE DOMAIN short_code AS code CHECK (length(VALUE) < 5);
  CREATE DOMAIN cents AS numeric(12, 2);
  CREATE DOMAIN a_day AS date;
  CREATE DOMAIN tags AS text[];
  CREATE DOMAIN document AS jsonb;
  CREATE TABLE article (id short_code PRIMARY KEY, price cents, day a_day, tags tags, meta document);
`);
const db = zeroNodePg(schema, database.pool);
const zql = createBuilder(schema) as any;

test('a domain is as the type below it, and its checks hold for writes', async () => {
  const row = {id: 'a', price: 1.25, day: 86_400_000, tags: ['x', 'y'], meta: {a: [1]}};
  const write = (value: object) => db.transaction((tx: any) => tx.mutate.article.upsert(value));
  await write(row);
  await write({...row, price: 2.5});
  const run = (query: unknown) => db.transaction((tx: any) => tx.run(query));
  expect(await run(zql.article)).toEqual([{...row, price: 2.5}]);
  // What the domain would not take may be asked for.
  expect(await run(zql.article.where('id', 'IN', ['a', 'longer than it may be']))).toHaveLength(1);
  expect(await run(zql.article.where('price', '>', 2).where('day', 86_400_000).where('id', 'ILIKE', 'A'))).toHaveLength(1);
  await expect(write({...row, id: 'too long'})).rejects.toThrow(/short_code/);
});
