/** Case is folded alike by the client and by `tx.run` on Postgres. */
import {expect, test} from 'vitest';
import {createBuilder, defineMutators, defineMutatorWithType, Zero} from '../../src/index.js';
import {string} from '../../src/schema/column.js';
import {createSchema} from '../../src/schema/schema.js';
import {table} from '../../src/schema/table.js';
import {zeroNodePg} from '../../src/server/adapters/pg.js';
import {useTestDatabase} from './test-database.js';

const word = table('word').columns({id: string(), s: string()}).primaryKey('id');
const schema = createSchema({tables: [word]});
const database = useTestDatabase(`
  CREATE TABLE word (id text PRIMARY KEY, s text NOT NULL);
  INSERT INTO word VALUES ('1', 'ΑΣΤΡΟ'), ('2', 'ΟΔΟΣ'), ('3', 'İzmir'), ('4', 'ﬁ'), ('5', 'ΟΣ'), ('6', 'οδός');
`);
const db = zeroNodePg(schema, database.pool);
const zql = createBuilder(schema) as any;
const mutators = defineMutators({
  add: (defineMutatorWithType<any>() as any)(async ({tx, args}: any) => {
    for (const row of args) {
      await tx.mutate.word.insert(row);
    }
  }),
}) as any;

test('ILIKE gives one answer on the client and on Postgres, sigmas included', async () => {
  const zero = new Zero({schema, mutators, userID: 'u', logLevel: 'error'} as never) as any;
  await zero.mutate(mutators.add(await database.sql('SELECT * FROM word'))).client;
  for (const pattern of ['ΑΣ%', '%ΟΣ%', 'ος', '%ς', '%Σ', 'ας%', 'οδόσ', 'İ%', 'i%', '_zmir', 'Ο_']) {
    for (const op of ['ILIKE', 'NOT ILIKE']) {
      const query = zql.word.where('s', op, pattern).orderBy('id', 'asc');
      const client = (await zero.run(query)).map((row: any) => row.id);
      const server = ((await db.transaction((tx: any) => tx.run(query))) as any[]).map(row => row.id);
      expect([op, pattern, server]).toEqual([op, pattern, client]);
    }
  }
  expect(await zero.run(zql.word.where('s', 'ILIKE', 'ΑΣ%'))).toHaveLength(1);
  await zero.close();
});
