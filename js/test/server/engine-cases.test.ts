// The cases of tests/cases/engine.json, which hold for the incremental engine, asked of Postgres: the view after each
// transaction is what the compiled statement gives for the rows at that time.
import {readFileSync} from 'node:fs';
import {describe, expect, test} from 'vitest';
import type {AST} from '../../src/query/ast.js';
import type {Format} from '../../src/query/internals.js';
import type {ValueType} from '../../src/schema/schema-value.js';
import type {Schema} from '../../src/schema/schema.js';
import {zeroNodePg} from '../../src/server/adapters/pg.js';
import {serverSchemaOf} from './server-schema-of.js';
import {useTestDatabase} from './test-database.js';

type Row = {readonly [column: string]: unknown};
type Node = {readonly row: Row; readonly related?: {readonly [relationship: string]: View}};
type View = readonly Node[] | Node | null;
type Change =
  | {readonly op: 'add' | 'remove'; readonly table: string; readonly row: Row}
  | {readonly op: 'edit'; readonly table: string; readonly oldRow: Row; readonly row: Row};

interface Case {
  readonly id: string;
  readonly query: string;
  readonly fixture?: string;
  readonly rows?: readonly {readonly table: string; readonly row: Row}[];
  readonly ast: AST;
  readonly format: Format;
  readonly initial?: View;
  readonly steps?: readonly {readonly changes: readonly Change[]; readonly view?: View; readonly error?: string}[];
  readonly error?: string;
}

const path = new URL('../../../tests/cases/engine.json', import.meta.url);
const {schema, fixtures, cases} = JSON.parse(readFileSync(path, 'utf8')) as {
  schema: Schema;
  fixtures: {readonly [name: string]: readonly {readonly table: string; readonly row: Row}[]};
  cases: readonly Case[];
};

/**
 * Where Postgres answers and the incremental engine refuses: a relationship declared to lead to one row that leads to
 * several. The statement takes the first of them.
 */
const MISDECLARED = /Singular relationship/;

const SQL_TYPES: {readonly [K in ValueType]: string} = {
  string: 'text',
  number: 'double precision',
  boolean: 'boolean',
  json: 'jsonb',
  null: 'text',
};
const database = useTestDatabase(
  Object.values(schema.tables)
    .map(({name, columns, primaryKey}) => {
      const declared = Object.entries(columns).map(([column, {type}]) => `"${column}" ${SQL_TYPES[type]}`);
      return `CREATE TABLE "${name}" (${declared.join(', ')}, PRIMARY KEY (${primaryKey.map(c => `"${c}"`).join(', ')}));`;
    })
    .join('\n'),
);
const db = zeroNodePg(schema, database.pool);

/** The rows of all tables, changed step by step. */
class Rows {
  readonly #tables = new Map<string, Map<string, Row>>();

  apply(change: Change): void {
    const table = this.#tables.get(change.table) ?? new Map<string, Row>();
    this.#tables.set(change.table, table);
    const key = (row: Row) => JSON.stringify(schema.tables[change.table]!.primaryKey.map(column => row[column]));
    if (change.op !== 'add') {
      table.delete(key(change.op === 'edit' ? change.oldRow : change.row));
    }
    if (change.op !== 'remove') {
      table.set(key(change.row), change.row);
    }
  }

  async answer(ast: AST, format: Format): Promise<unknown> {
    return db.transaction(async tx => {
      await tx.dbTransaction.query(`TRUNCATE ${Object.keys(schema.tables).map(name => `"${name}"`).join(', ')}`, []);
      const mutate = tx.mutate as unknown as {[table: string]: {insert(row: Row): Promise<void>}};
      for (const [name, rows] of this.#tables) {
        for (const row of rows.values()) {
          await mutate[name]!.insert(row);
        }
      }
      return tx.dbTransaction.runQuery(ast, format, schema, await serverSchemaOf(tx, schema));
    });
  }
}

/** A view as the query gives it: plain rows, relationships beside the columns. */
function plain(view: View): unknown {
  if (view === null) {
    return undefined;
  }
  if (!('row' in view)) {
    return view.map(plain);
  }
  const related = Object.entries(view.related ?? {}).map(([name, child]) => [name, plain(child)]);
  return {...view.row, ...Object.fromEntries(related)};
}

describe('the cases of the engine', () => {
  test.each(cases.map(c => [c.id, c.query, c] as const))('%s %s', async (_id, _query, c) => {
    const rows = new Rows();
    for (const {table, row} of c.rows ?? fixtures[c.fixture!]!) {
      rows.apply({op: 'add', table, row});
    }
    if (c.error !== undefined) {
      if (!MISDECLARED.test(c.error)) {
        await expect(rows.answer(c.ast, c.format)).rejects.toThrow(c.error);
      }
      return;
    }
    expect(await rows.answer(c.ast, c.format)).toEqual(plain(c.initial!));
    for (const [i, step] of c.steps!.entries()) {
      step.changes.forEach(change => rows.apply(change));
      if (step.error === undefined) {
        expect(await rows.answer(c.ast, c.format), `after step ${i + 1}`).toEqual(plain(step.view!));
      }
    }
  });
});
