import {expect, test} from 'vitest';
import {createBuilder} from '../../src/query/create-builder.js';
import {json, number, string} from '../../src/schema/column.js';
import {createSchema} from '../../src/schema/schema.js';
import {table} from '../../src/schema/table.js';
import {zeroPostgresJS, type PostgresJSTransactionSql} from '../../src/server/adapters/postgresjs.js';
import {useTestDatabase} from './test-database.js';

const thing = table('thing').columns({id: string(), at: number(), doc: json().optional()}).primaryKey('id');
const schema = createSchema({tables: [thing]});
const zql = createBuilder(schema);

const database = useTestDatabase('CREATE TABLE thing (id text PRIMARY KEY, at timestamptz NOT NULL, doc jsonb)');

/** Stands in for the package `postgres`, with its habits: what `begin` resolves to is awaited element by element. */
const sql = {
  async begin<R>(callback: (tx: PostgresJSTransactionSql) => Promise<R>): Promise<unknown> {
    const client = await database.pool.connect();
    try {
      await client.query('BEGIN');
      const result = await callback({unsafe: async (text, args) => (await client.query(text, args)).rows});
      await client.query('COMMIT');
      return Array.isArray(result) ? await Promise.all(result) : result;
    } catch (error) {
      await client.query('ROLLBACK');
      throw error;
    } finally {
      client.release();
    }
  },
};
const db = zeroPostgresJS(schema, sql);

test('reads and writes through the client, and hands on what the callback returns', async () => {
  const row = {id: 'a', at: 1700000000123.456, doc: {x: [1, null]}};
  const never = Promise.reject(new Error('not to be awaited'));
  never.catch(() => {});
  const [found, same] = await db.transaction(async tx => {
    await tx.mutate.thing.insert(row);
    return [await tx.run(zql.thing.one()), {never}] as const;
  });
  expect(found).toEqual(row);
  expect(same.never).toBe(never);
  expect(await db.run(zql.thing)).toEqual([row]);
});

test('rolls back when the callback throws', async () => {
  const failing = db.transaction(async tx => {
    await tx.mutate.thing.upsert({id: 'b', at: 0});
    await tx.dbTransaction.wrappedTransaction.unsafe(`INSERT INTO thing VALUES ('c', now())`);
    throw new Error('no');
  });
  await expect(failing).rejects.toThrow('no');
  expect(await database.sql(`SELECT id FROM thing WHERE id <> 'a'`)).toEqual([]);
});
