// Prints the tracker's tables and rows as SQL for SQLite: `… | landfall-server exec --db FILE`.
// The program that reads it makes one transaction of it.
import { once } from 'node:events';
import { makeTables, type Row } from './data.ts';

// STRICT tables and these checks tell the sync server what SQLite has no types for: booleans and JSON.
const SCHEMA = `
CREATE TABLE "user" (id TEXT NOT NULL PRIMARY KEY, login TEXT NOT NULL UNIQUE, name TEXT NOT NULL) STRICT;
CREATE TABLE label (id TEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL, color TEXT NOT NULL) STRICT;
CREATE TABLE issue (
  id TEXT NOT NULL PRIMARY KEY,
  title TEXT NOT NULL CHECK (title <> ''),
  description TEXT NOT NULL,
  open INTEGER NOT NULL CHECK (open IN (0,1)),
  priority TEXT NOT NULL CHECK (priority IN ('urgent', 'high', 'medium', 'low')),
  "priorityRank" INTEGER NOT NULL,
  "creatorID" TEXT NOT NULL,
  "assigneeID" TEXT,
  environment TEXT CHECK (environment IS NULL OR json_valid(environment)),
  created INTEGER NOT NULL,
  modified INTEGER NOT NULL
) STRICT;
CREATE TABLE "issueLabel" (
  "issueID" TEXT NOT NULL,
  "labelID" TEXT NOT NULL,
  PRIMARY KEY ("issueID", "labelID")
) STRICT;
CREATE TABLE comment (
  id TEXT NOT NULL PRIMARY KEY,
  "issueID" TEXT NOT NULL,
  "authorID" TEXT NOT NULL,
  body TEXT NOT NULL CHECK (body <> ''),
  created INTEGER NOT NULL
) STRICT;
CREATE INDEX issue_modified ON issue (modified DESC, id DESC);
CREATE INDEX issue_label_label ON "issueLabel" ("labelID");
CREATE INDEX comment_issue ON comment ("issueID");
`;

const BATCH = 500;

await print(SCHEMA);
for (const [name, rows] of Object.entries(makeTables())) {
  for (let start = 0; start < rows.length; start += BATCH) {
    await print(insertion(name, rows.slice(start, start + BATCH)));
  }
  console.error(`${name}: ${rows.length} rows`);
}

function insertion(name: string, rows: readonly Row[]): string {
  const columns = Object.keys(rows[0]!);
  const values = rows.map(row => `(${columns.map(column => literal(row[column])).join(',')})`);
  return `INSERT INTO "${name}" (${columns.map(column => `"${column}"`).join(',')}) VALUES\n${values.join(',\n')};\n`;
}

function literal(value: Row[string] | undefined): string {
  switch (typeof value) {
    case 'number': return String(value);
    case 'boolean': return value ? '1' : '0';
    case 'string': return `'${value.replaceAll(`'`, `''`)}'`;
    default: return value === null || value === undefined ? 'NULL' : literal(JSON.stringify(value));
  }
}

/** Waits when the reader is slower. */
async function print(text: string): Promise<void> {
  if (!process.stdout.write(text)) await once(process.stdout, 'drain');
}
