/** Every adapter keeps the same promises, on the real Postgres. */
import {sql as drizzleSQL} from 'drizzle-orm';
import {drizzle} from 'drizzle-orm/node-postgres';
import {pgTable, text, timestamp} from 'drizzle-orm/pg-core';
import {Kysely, PostgresDialect, sql as kyselySQL} from 'kysely';
import pg from 'pg';
import {beforeEach, describe, expect, test, vi} from 'vitest';
import {defineMutators, defineMutatorWithType, mustGetMutator} from '../../src/mutate/mutator-registry.js';
import type {ServerTransaction} from '../../src/mutate/transaction.js';
import {createBuilder} from '../../src/query/create-builder.js';
import {json, number, string} from '../../src/schema/column.js';
import {createSchema} from '../../src/schema/schema.js';
import {table} from '../../src/schema/table.js';
import {type DrizzleTransaction, zeroDrizzle} from '../../src/server/adapters/drizzle.js';
import {type KyselyTransaction, zeroKysely} from '../../src/server/adapters/kysely.js';
import {NodePgConnection, zeroNodePg} from '../../src/server/adapters/pg.js';
import {PostgresJSConnection, zeroPostgresJS} from '../../src/server/adapters/postgresjs.js';
import {type PrismaTransaction, zeroPrisma} from '../../src/server/adapters/prisma.js';
import {CRUDMutatorFactory, handleMutateRequest, makeSchemaCRUD, ZQLDatabase} from '../../src/server/index.js';
import {readServerSchema} from '../../src/server/server-schema.js';
import {useTestDatabase} from './test-database.js';

const thing = table('thing').columns({id: string(), at: number(), doc: json().optional()}).primaryKey('id');
const schema = createSchema({tables: [thing]});
type Things = typeof schema;
const zql = createBuilder(schema);

const database = useTestDatabase(`
  CREATE TABLE thing (id text PRIMARY KEY, at timestamptz NOT NULL, doc jsonb);
  CREATE SCHEMA zero_0;
  CREATE TABLE zero_0.clients (
    "clientGroupID" text, "clientID" text, "lastMutationID" bigint, "userID" text, PRIMARY KEY ("clientGroupID", "clientID")
  );
  CREATE TABLE zero_0.mutations (
    "clientGroupID" text, "clientID" text, "mutationID" bigint, result json NOT NULL,
    PRIMARY KEY ("clientGroupID", "clientID", "mutationID")
  );
`);
const {pool} = database;

interface KyselyTables {
  thing: {id: string; at: Date; doc: string | null};
}
const kysely = new Kysely<KyselyTables>({dialect: new PostgresDialect({pool: pool as never})});
const things = pgTable('thing', {id: text().primaryKey(), at: timestamp({withTimezone: true}).notNull()});
const drizzled = drizzle(pool, {schema: {things}});

type Rows = {readonly rows: {[column: string]: any}[]};
interface Client {
  query(query: string | object, args?: unknown[]): Promise<Rows>;
  release(): void;
}

// Pools of Postgres.js and Prisma are not at hand here: what runs a transaction in them, on a client of `pg`.
async function inTransaction<R>(callback: (client: Client) => Promise<R>): Promise<R> {
  const client = (await pool.connect()) as unknown as Client;
  try {
    await client.query('BEGIN');
    const result = await callback(client);
    await client.query('COMMIT');
    return result;
  } catch (error) {
    await client.query('ROLLBACK');
    throw error;
  } finally {
    client.release();
  }
}

/** Stands in for the package `postgres`, with its habits: what `begin` resolves to is awaited element by element. */
const postgresJS = {
  async begin<R>(callback: (tx: {unsafe(sql: string, args?: any[]): Promise<{[column: string]: any}[]>}) => Promise<R>): Promise<unknown> {
    const result = await inTransaction(client =>
      callback({unsafe: async (sql, args) => (await client.query(sql, args)).rows}),
    );
    return Array.isArray(result) ? await Promise.all(result) : result;
  },
};

const parsers = (pg as unknown as {readonly types: {getTypeParser(id: number, format: unknown): unknown}}).types;

/** Stands in for a generated Prisma client, with its habits: large integers are `bigint`. */
const prisma = {
  $transaction<R>(callback: (tx: {$queryRawUnsafe(sql: string, ...args: unknown[]): Promise<unknown>; readonly thing: string}) => Promise<R>) {
    const types = {getTypeParser: (id: number, format: unknown) => (id === 20 ? BigInt : parsers.getTypeParser(id, format))};
    return inTransaction(client =>
      callback({
        $queryRawUnsafe: async (text, ...values) => (await client.query({text, values, types})).rows,
        thing: 'a model',
      }),
    );
  },
};

type Adapter = readonly [
  name: string,
  db: ZQLDatabase<Things, any>,
  run: (tx: ServerTransaction<Things, any>, sql: string) => PromiseLike<unknown>,
];
const adapters: readonly Adapter[] = [
  ['pg', zeroNodePg(schema, pool), (tx, sql) => tx.dbTransaction.wrappedTransaction.query(sql)],
  ['postgresjs', zeroPostgresJS(schema, postgresJS), (tx, sql) => tx.dbTransaction.wrappedTransaction.unsafe(sql)],
  ['pg by its connection', new ZQLDatabase(new NodePgConnection(pool), schema), (tx, sql) => tx.dbTransaction.wrappedTransaction.query(sql)],
  // The client of Postgres.js is a function.
  [
    'postgresjs by its connection',
    new ZQLDatabase(new PostgresJSConnection(Object.assign(() => {}, postgresJS)), schema),
    (tx, sql) => tx.dbTransaction.wrappedTransaction.unsafe(sql),
  ],
  ['kysely', zeroKysely(schema, kysely), (tx, sql) => kyselySQL.raw(sql).execute(tx.dbTransaction.wrappedTransaction)],
  ['drizzle', zeroDrizzle(schema, drizzled), (tx, sql) => tx.dbTransaction.wrappedTransaction.execute(drizzleSQL.raw(sql))],
  ['prisma', zeroPrisma(schema, prisma), (tx, sql) => tx.dbTransaction.wrappedTransaction.$queryRawUnsafe(sql)],
];

const mutators = defineMutators({
  put: defineMutatorWithType<Things>()<{id: string}>(async ({tx, args: {id}}) => {
    await tx.mutate.thing.insert({id, at: tx.mutationID});
    if (id === 'refused') {
      throw new Error('no');
    }
  }),
});

beforeEach(() => database.sql('TRUNCATE thing, zero_0.clients, zero_0.mutations'));
const ids = async () => (await database.sql('SELECT id FROM thing ORDER BY id')).map(({id}) => id);

describe.each(adapters)('the adapter for %s', (_name, db, run) => {
  test('reads and writes, and hands on what the callback returns', async () => {
    const row = {id: "it's $1 \u{1f600}", at: 1700000000123.456, doc: {x: [1, null, '$2']}};
    const never = Promise.reject(new Error('not to be awaited'));
    never.catch(() => {});
    const [found, same] = await db.transaction(async tx => {
      await tx.mutate.thing.insert(row);
      await tx.mutate.thing.insert({id: 'b', at: 0, doc: null});
      await tx.mutate.thing.update({id: 'b', at: 1});
      await tx.mutate.thing.upsert({id: 'b', at: 2});
      await tx.mutate.thing.insert({id: 'c', at: 0});
      await tx.mutate.thing.delete({id: 'c'});
      return [await tx.run(zql.thing.where('at', '>', 5).one()), {never}] as const;
    });
    expect(found).toEqual(row);
    expect(same.never).toBe(never);
    expect(await db.run(zql.thing.orderBy('at', 'asc'))).toEqual([{id: 'b', at: 2, doc: null}, row]);
  });

  test('hands out its own transaction, in which the rest is seen', async () => {
    await db.transaction(async tx => {
      await tx.mutate.thing.insert({id: 'a', at: 0});
      await run(tx, `INSERT INTO thing SELECT id || 'b', at FROM thing`);
      expect(await tx.run(zql.thing)).toHaveLength(2);
    });
    expect(await ids()).toEqual(['a', 'ab']);
  });

  test('rolls back when the callback throws', async () => {
    const failing = db.transaction(async tx => {
      await tx.mutate.thing.upsert({id: 'b', at: 0});
      await run(tx, `INSERT INTO thing VALUES ('c', now())`);
      throw new Error('no');
    });
    await expect(failing).rejects.toThrow('no');
    expect(await ids()).toEqual([]);
  });

  test('a failed statement that the callback ignores is not taken for a commit', async () => {
    const failing = db.transaction(async tx => {
      await tx.mutate.thing.insert({id: 'a', at: 0});
      await Promise.resolve(run(tx, 'SELECT 1 / 0')).catch(() => {});
      return 'done';
    });
    await expect(failing).rejects.toThrow();
    expect(await ids()).toEqual([]);
  });

  test('carries a push with its bookkeeping', async () => {
    const silenced = vi.spyOn(console, 'error').mockImplementation(() => {});
    const push = (id: number, arg: string) =>
      handleMutateRequest({
        dbProvider: db,
        handler: transact => transact((tx, name, args) => mustGetMutator(mutators, name).fn({tx, args, ctx: undefined})),
        userID: 'u1',
        query: {schema: 'zero_0', appID: 'zero'},
        body: {
          clientGroupID: 'g', pushVersion: 1, timestamp: 1, requestID: 'r',
          mutations: [{type: 'custom', id, clientID: 'c', name: 'put', args: [{id: arg}], timestamp: 1}],
        },
        logLevel: 'error',
      });
    const result = (id: number, what: object) => ({kind: 'MutateResponse', mutations: [{id: {clientID: 'c', id}, result: what}], userID: 'u1'});
    expect(await push(1, 'a')).toEqual(result(1, {}));
    expect(await push(2, 'refused')).toEqual(result(2, {error: 'app', message: 'no'}));
    expect(await push(2, 'again')).toMatchObject(result(2, {error: 'alreadyProcessed'}));
    expect(await push(3, 'b')).toEqual(result(3, {}));
    silenced.mockRestore();
    expect(await ids()).toEqual(['a', 'b']);
    expect(await database.sql('SELECT "lastMutationID" FROM zero_0.clients')).toEqual([{lastMutationID: '3'}]);
    expect(await database.sql('SELECT "mutationID" FROM zero_0.mutations')).toEqual([{mutationID: '2'}]);
  });
});

test('the writes of a transaction can be had without one', async () => {
  await zeroNodePg(schema, pool).transaction(async ({dbTransaction}) => {
    const serverSchema = await readServerSchema(dbTransaction, schema);
    await makeSchemaCRUD(schema)(dbTransaction, serverSchema).thing.insert({id: 'a', at: 0});
    const execute = new CRUDMutatorFactory(schema).createExecutor(dbTransaction, serverSchema);
    await execute('thing', 'upsert', {id: 'b', at: 1});
    await execute('thing', 'delete', {id: 'a'});
    await expect(execute('nothing', 'insert', {})).rejects.toThrow('Unknown table "nothing".');
  });
  expect(await ids()).toEqual(['b']);
});

// Types alone: what the libraries know of a transaction is known in a mutator.
export async function typed(
  inKysely: ServerTransaction<Things, KyselyTransaction<typeof kysely>>,
  inDrizzle: ServerTransaction<Things, DrizzleTransaction<typeof drizzled>>,
  inPrisma: ServerTransaction<Things, PrismaTransaction<typeof prisma>>,
): Promise<unknown[]> {
  const [row] = await inKysely.dbTransaction.wrappedTransaction.selectFrom('thing').select('at').execute();
  const at: number | undefined = row?.at.getTime();
  const [selected] = await inDrizzle.dbTransaction.wrappedTransaction.select().from(things);
  const id: string | undefined = selected?.id;
  const model: string = inPrisma.dbTransaction.wrappedTransaction.thing;
  const same: ZQLDatabase<Things, KyselyTransaction<KyselyTables>> = zeroKysely(schema, kysely);
  const other: ZQLDatabase<Things, DrizzleTransaction<typeof drizzled>> = zeroDrizzle(schema, drizzled);
  const named: ReturnType<typeof zeroDrizzle<Things, typeof drizzled>> = other;
  named.transaction(tx => tx.dbTransaction.wrappedTransaction.select().from(things));
  const tables = {} as DrizzleTransaction<{things: typeof things}>;
  const found: Date | undefined = (await tables.query.things.findFirst())?.at;
  // @ts-expect-error no such table
  inKysely.dbTransaction.wrappedTransaction.selectFrom('nothing');
  return [at, id, model, same, other, found];
}
