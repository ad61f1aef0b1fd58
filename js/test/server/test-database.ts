import pg from 'pg';
import {afterAll, beforeAll} from 'vitest';

/** A fresh database for one test file, on the server that LANDFALL_TEST_POSTGRES_URL names. */
export interface TestDatabase {
  readonly url: string;
  readonly pool: InstanceType<typeof pg.Pool>;
  /** Runs SQL and returns its rows. */
  sql(text: string, values?: unknown[]): Promise<{[column: string]: any}[]>;
}

let counter = 0;

/** Makes a database before the tests of the file and drops it after them. */
export function useTestDatabase(setup: string): TestDatabase {
  const server = process.env['LANDFALL_TEST_POSTGRES_URL'];
  if (server === undefined) {
    throw new Error('LANDFALL_TEST_POSTGRES_URL is not set; run the tests through `node scripts/with-postgres.mjs --`');
  }
  const name = `js_server_${process.pid}_${Date.now().toString(36)}_${counter++}`;
  const url = new URL(server);
  url.pathname = `/${name}`;
  const own = new URL(url);
  own.searchParams.set('application_name', name);
  const pool = new pg.Pool({connectionString: own.href});
  const database: TestDatabase = {
    url: url.href,
    pool,
    sql: async (text, values) => (await pool.query(text, values)).rows,
  };
  const onServer = async (act: (admin: InstanceType<typeof pg.Client>) => Promise<unknown>) => {
    const admin = new pg.Client({connectionString: server});
    await admin.connect();
    await act(admin).finally(() => admin.end());
  };
  beforeAll(async () => {
    await onServer(admin => admin.query(`CREATE DATABASE ${name}`));
    await pool.query(setup);
  });
  afterAll(async () => {
    await pool.end();
    // A pool has ended before its connections are closed; one that is cut off meanwhile throws an error that nobody catches.
    await onServer(async admin => {
      const connected = 'SELECT pid FROM pg_stat_activity WHERE application_name = $1';
      while ((await admin.query(connected, [name])).rows.length > 0) {
        await new Promise(resolve => setTimeout(resolve, 20));
      }
      await admin.query(`DROP DATABASE ${name} WITH (FORCE)`);
    });
  });
  return database;
}
