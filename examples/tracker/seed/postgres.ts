// Creates and fills the tracker's tables in the Postgres of DATABASE_URL. Does nothing when they are there;
// `--reset` drops them first.
import pg from 'pg';
import { makeTables, type Row } from './data.ts';

const TABLES = ['user', 'label', 'issue', 'issueLabel', 'comment'] as const;

const SCHEMA = `
  CREATE TYPE priority AS ENUM ('urgent', 'high', 'medium', 'low');
  CREATE TABLE "user" (id text PRIMARY KEY, login text NOT NULL UNIQUE, name text NOT NULL);
  CREATE TABLE label (id text PRIMARY KEY, name text NOT NULL, color text NOT NULL);
  CREATE TABLE issue (
    id text PRIMARY KEY,
    title text NOT NULL CHECK (title <> ''),
    description text NOT NULL,
    open boolean NOT NULL,
    priority priority NOT NULL,
    "priorityRank" integer NOT NULL,
    "creatorID" text NOT NULL REFERENCES "user" (id),
    "assigneeID" text REFERENCES "user" (id),
    environment jsonb,
    created timestamptz NOT NULL,
    modified timestamptz NOT NULL
  );
  CREATE TABLE "issueLabel" (
    "issueID" text NOT NULL REFERENCES issue (id) ON DELETE CASCADE,
    "labelID" text NOT NULL REFERENCES label (id),
    PRIMARY KEY ("issueID", "labelID")
  );
  CREATE TABLE comment (
    id text PRIMARY KEY,
    "issueID" text NOT NULL REFERENCES issue (id) ON DELETE CASCADE,
    "authorID" text NOT NULL REFERENCES "user" (id),
    body text NOT NULL CHECK (body <> ''),
    created timestamptz NOT NULL
  )`;
const INDEXES = `
  CREATE INDEX ON issue (modified DESC, id DESC);
  CREATE INDEX ON "issueLabel" ("labelID");
  CREATE INDEX ON comment ("issueID");
  ANALYZE`;

/** Columns that are moments: milliseconds in the data, timestamps in the database. */
const MOMENTS: ReadonlySet<string> = new Set(['created', 'modified']);
const BATCH = 5_000;

async function seed(client: InstanceType<typeof pg.Client>): Promise<void> {
  // Whoever comes second waits, and then finds the tables.
  await client.query('SELECT pg_advisory_xact_lock(7305110)');
  if (process.argv.includes('--reset')) {
    await client.query(`DROP TABLE IF EXISTS ${TABLES.map(name => `"${name}"`).join(', ')} CASCADE`);
    await client.query('DROP TYPE IF EXISTS priority');
  }
  const { rows: [found] } = await client.query(`SELECT to_regclass('public.issue') IS NOT NULL AS there`);
  if (found?.there) {
    console.log('the tables are there already');
    return;
  }
  await client.query(SCHEMA);
  const tables = makeTables();
  for (const name of TABLES) {
    const began = Date.now();
    for (let start = 0; start < tables[name].length; start += BATCH) {
      await insert(client, name, tables[name].slice(start, start + BATCH));
    }
    console.log(`${name}: ${tables[name].length} rows (${Date.now() - began} ms)`);
  }
  await client.query(INDEXES);
}

async function insert(client: InstanceType<typeof pg.Client>, name: string, rows: readonly Row[]): Promise<void> {
  const columns = Object.keys(rows[0]!);
  const names = columns.map(column => `"${column}"`).join(', ');
  const written = rows.map(row => Object.fromEntries(columns.map(column => [
    column,
    MOMENTS.has(column) ? new Date(row[column] as number).toISOString() : row[column],
  ])));
  await client.query(
    `INSERT INTO "${name}" (${names}) SELECT ${names} FROM json_populate_recordset(NULL::"${name}", $1::text::json)`,
    [JSON.stringify(written)],
  );
}

const url = process.env.DATABASE_URL;
if (!url) {
  console.error('DATABASE_URL is not set: postgres://USER:PASSWORD@HOST:PORT/DATABASE');
  process.exit(2);
}
const client = new pg.Client({ connectionString: url });
try {
  await client.connect();
  await client.query('BEGIN');
  await seed(client);
  await client.query('COMMIT');
} catch (error) {
  console.error(`the database was not seeded: ${error instanceof Error ? error.message || (error as { code?: string }).code : error}`);
  process.exitCode = 1;
} finally {
  await client.end();
}
