// The two ways to run: in front of Postgres with the app's endpoint, and embedded with declared permissions.
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { permissions } from './app/permissions.ts';
import { startApi } from './app/api.ts';
import { createDatabase, executeOnFile, folder, LandfallServer } from './world.ts';

/** What happens between the creation of the tables and the start of the server. */
export type Prepare = (source: Pick<Mode, 'execute' | 'rows'>) => Promise<void>;

export interface Mode {
  server: LandfallServer;
  /** Runs SQL on the source of truth as another program, not through Landfall. */
  execute(sql: string): Promise<void>;
  /** The rows of a SELECT on the source of truth. */
  rows(sql: string): Promise<Record<string, unknown>[]>;
  tasks(): Promise<{ id: string; title: string }[]>;
  counter(id: string): Promise<number>;
  close(): Promise<void>;
}

const TABLES = {
  postgres: `
    CREATE TABLE task (id text PRIMARY KEY, title text NOT NULL, done boolean NOT NULL, rank double precision NOT NULL, note text);
    CREATE TABLE counter (id text PRIMARY KEY, value integer NOT NULL);
    CREATE TABLE country (code text PRIMARY KEY, name text NOT NULL);
    CREATE TABLE city (id integer PRIMARY KEY, name text NOT NULL, country_code text NOT NULL, population integer NOT NULL,
      lat double precision NOT NULL, lon double precision NOT NULL);`,
  embedded: `
    CREATE TABLE task (id TEXT PRIMARY KEY NOT NULL, title TEXT NOT NULL, done INTEGER NOT NULL CHECK (done IN (0, 1)),
      rank REAL NOT NULL, note TEXT) STRICT;
    CREATE TABLE counter (id TEXT PRIMARY KEY NOT NULL, value INTEGER NOT NULL) STRICT;
    CREATE TABLE country (code TEXT PRIMARY KEY NOT NULL, name TEXT NOT NULL) STRICT;
    CREATE TABLE city (id INTEGER PRIMARY KEY NOT NULL, name TEXT NOT NULL, country_code TEXT NOT NULL, population INTEGER NOT NULL,
      lat REAL NOT NULL, lon REAL NOT NULL) STRICT;`,
};

const reading = ({ rows }: Pick<Mode, 'rows'>): Pick<Mode, 'tasks' | 'counter'> => ({
  tasks: async () => await rows('SELECT id, title FROM task ORDER BY id') as { id: string; title: string }[],
  counter: async id => Number((await rows(`SELECT value FROM counter WHERE id = '${id}'`))[0]?.value ?? 0),
});

async function postgresMode(prepare?: Prepare): Promise<Mode> {
  const database = await createDatabase();
  const source = {
    execute: async (sql: string) => { await database.sql.query(sql); },
    rows: async (sql: string) => (await database.sql.query(sql)).rows as Record<string, unknown>[],
  };
  await source.execute(TABLES.postgres);
  await prepare?.(source);
  const api = await startApi(database.url);
  const files = folder();
  const server = await new LandfallServer({
    LANDFALL_UPSTREAM_DB: database.url,
    LANDFALL_ADMIN_PASSWORD: 'sesame',
    LANDFALL_REPLICA_FILE: join(files, 'replica.sqlite'),
    LANDFALL_QUERY_URL: `${api.url}/query`,
    LANDFALL_MUTATE_URL: `${api.url}/mutate`,
  }).start();
  return {
    server,
    ...source,
    ...reading(source),
    close: async () => {
      await server.stop();
      await api.close();
      await database.drop();
      rmSync(files, { recursive: true, force: true });
    },
  };
}

async function embeddedMode(prepare?: Prepare): Promise<Mode> {
  const files = folder();
  const database = join(files, 'app.sqlite');
  const source = {
    execute: async (sql: string) => { executeOnFile(database, sql); },
    rows: async (sql: string) => executeOnFile(database, sql) as Record<string, unknown>[],
  };
  await source.execute(TABLES.embedded);
  await prepare?.(source);
  const permissionsFile = join(files, 'permissions.json');
  writeFileSync(permissionsFile, JSON.stringify(await permissions));
  const server = await new LandfallServer({
    LANDFALL_UPSTREAM_DB: database,
    LANDFALL_ADMIN_PASSWORD: 'sesame',
    LANDFALL_PERMISSIONS: permissionsFile,
  }).start();
  return {
    server,
    ...source,
    ...reading(source),
    close: async () => {
      await server.stop();
      rmSync(files, { recursive: true, force: true });
    },
  };
}

export const modes = { postgres: postgresMode, embedded: embeddedMode } as const;
