// Random queries over random rows: Postgres, by the compiled statement, against a plain evaluation of the same AST.
// The bugs it is after: NULL logic in nested groups, wrong ends of orders, start bounds that lose or repeat rows,
// joins on NULL, and EXISTS that looks at the wrong table alias.
import {expect, test} from 'vitest';
import type {AST, Condition, CorrelatedSubquery, Direction, OrderPart, SimpleOperator} from '../../src/query/ast.js';
import type {Format} from '../../src/query/internals.js';
import {boolean, number, string} from '../../src/schema/column.js';
import {createSchema} from '../../src/schema/schema.js';
import {table} from '../../src/schema/table.js';
import {zeroNodePg} from '../../src/server/adapters/pg.js';
import {serverSchemaOf} from './server-schema-of.js';
import {useTestDatabase} from './test-database.js';

type Value = string | number | boolean | null;
type Row = {[column: string]: Value};

const columns = {n: number().optional(), s: string().optional(), b: boolean().optional(), k: string().optional(), up: string().optional()};
const x = table('x').columns({id: string(), ...columns}).primaryKey('id');
const y = table('y').columns({id: string(), ...columns}).primaryKey('id');
const schema = createSchema({tables: [x, y]});

// A linguistic collation on one side: orders and comparisons must be by bytes all the same.
const create = (name: string, collation: string) =>
  `CREATE TABLE ${name} (id text ${collation} PRIMARY KEY, n int, s text ${collation}, b bool, k kind, up text ${collation});`;
const database = useTestDatabase(
  `CREATE TYPE kind AS ENUM ('z', 'a', 'm'); ${create('x', '')} ${create('y', 'COLLATE "und-x-icu"')}`,
);
const db = zeroNodePg(schema, database.pool);

const IDS = ['a', 'B', 'ä', '～', '😀', 'c%', 'c_', 'd'];
const VALUES: {[column: string]: readonly Value[]} = {
  id: IDS,
  n: [null, -1, 0, 1, 2],
  s: [null, '', 'a', 'A', 'ä', 'a%b', 'a_b', 'a\\b', '😀', '～'],
  b: [null, true, false],
  k: [null, 'z', 'a', 'm'],
  up: [null, ...IDS],
};
const PATTERNS = ['%', 'a', 'A', '_', '__', 'a%', '%b', 'a\\%b', 'a\\_b', 'a\\\\b', 'a_b', '%ä%', ''];

class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed;
  }

  below(n: number): number {
    this.#state = (Math.imul(this.#state, 1664525) + 1013904223) >>> 0;
    return Math.floor((this.#state / 2 ** 32) * n);
  }

  chance(oneIn: number): boolean {
    return this.below(oneIn) === 0;
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }
}

function randomRows(random: Random): Row[] {
  return IDS.filter(() => !random.chance(4)).map(id => {
    const row: Row = {id};
    for (const column of Object.keys(columns)) {
      row[column] = random.pick(VALUES[column]!);
    }
    return row;
  });
}

function randomCondition(random: Random, depth: number): Condition {
  if (depth > 0 && random.chance(2)) {
    const conditions = Array.from({length: random.below(4)}, () => randomCondition(random, depth - 1));
    return {type: random.pick(['and', 'or']), conditions};
  }
  if (depth > 0 && random.chance(3)) {
    return {type: 'correlatedSubquery', op: random.pick(['EXISTS', 'NOT EXISTS']), related: randomSubquery(random, depth - 1, true)};
  }
  const name = random.pick(Object.keys(VALUES));
  const values = VALUES[name]!;
  const isText = typeof values[1] === 'string';
  const op = random.pick<SimpleOperator>([
    '=', '!=', 'IS', 'IS NOT', '<', '<=', '>', '>=', 'IN', 'NOT IN',
    ...(isText ? (['LIKE', 'NOT LIKE', 'ILIKE', 'NOT ILIKE'] as const) : []),
  ]);
  const one = () => random.pick(values);
  const value = op.endsWith('IN')
    ? Array.from({length: random.below(4)}, one).filter(v => v !== null)
    : op.endsWith('LIKE')
      ? random.pick(PATTERNS)
      : one();
  return {type: 'simple', left: {type: 'column', name}, op, right: {type: 'literal', value}};
}

function randomSubquery(random: Random, depth: number, exists: boolean): CorrelatedSubquery {
  const [parentField, childField] = random.pick([['up', 'id'], ['id', 'up'], ['n', 'n'], ['k', 'k'], ['s', 's']] as const);
  const subquery: AST = {...randomQuery(random, depth, exists), alias: random.pick(['r1', 'r2'])};
  return {correlation: {parentField: [parentField], childField: [childField]}, subquery};
}

function randomQuery(random: Random, depth: number, exists: boolean): AST {
  const where = random.chance(3) ? undefined : randomCondition(random, depth);
  const ast: AST = {table: random.pick(['x', 'y']), ...(where && {where})};
  if (exists) {
    return random.chance(4) ? {...ast, limit: random.below(2)} : ast;
  }
  const names = Object.keys(VALUES);
  const orderBy = Array.from(
    {length: random.below(3)},
    (): OrderPart => [random.pick(names), random.pick<Direction>(['asc', 'desc'])],
  );
  const bound = Object.fromEntries(names.filter(() => random.chance(2)).map(name => [name, random.pick(VALUES[name]!)]));
  return {
    ...ast,
    ...(orderBy.length > 0 && {orderBy}),
    ...(random.chance(2) && {limit: random.below(5)}),
    ...(random.chance(3) && {start: {row: bound, exclusive: random.chance(2)}}),
    ...(depth > 0 && random.chance(2) && {related: [randomSubquery(random, depth - 1, false)]}),
  };
}

const plural: Format = {singular: false, relationships: {}};

/** The plain evaluation. */
class Evaluation {
  readonly #tables: {[name: string]: readonly Row[]};

  constructor(tables: {[name: string]: readonly Row[]}) {
    this.#tables = tables;
  }

  rows(ast: AST, belongs: (row: Row) => boolean = () => true): unknown[] {
    const order = [...(ast.orderBy ?? []), ['id', 'asc'] as const];
    const compare = (a: Row, b: Row): number => {
      for (const [name, direction] of order) {
        const difference = compareValues(a[name] ?? null, b[name] ?? null);
        if (difference !== 0) {
          return direction === 'asc' ? difference : -difference;
        }
      }
      return 0;
    };
    const {start, where, limit} = ast;
    return this.#tables[ast.table]!
      .filter(row => belongs(row) && (where === undefined || this.#holds(where, row)))
      .filter(row => start === undefined || compare(row, start.row as Row) > (start.exclusive ? 0 : -1))
      .sort(compare)
      .slice(0, limit)
      .map(row => ({
        ...row,
        ...Object.fromEntries((ast.related ?? []).map(sub => [sub.subquery.alias, this.#children(sub, row)])),
      }));
  }

  #children({correlation, subquery}: CorrelatedSubquery, parent: Row): unknown[] {
    const key = parent[correlation.parentField[0]] ?? null;
    return this.rows(subquery, child => key !== null && child[correlation.childField[0]] === key);
  }

  #holds(condition: Condition, row: Row): boolean {
    switch (condition.type) {
      case 'and':
        return condition.conditions.every(c => this.#holds(c, row));
      case 'or':
        return condition.conditions.some(c => this.#holds(c, row));
      case 'correlatedSubquery':
        return this.#children(condition.related, row).length > 0 === (condition.op === 'EXISTS');
      case 'simple':
        if (condition.left.type !== 'column' || condition.right.type !== 'literal') {
          throw new Error('not among the random conditions');
        }
        return compares(row[condition.left.name] ?? null, condition.op, condition.right.value);
    }
  }
}

function compares(value: Value, op: SimpleOperator, literal: Value | readonly Value[]): boolean {
  if (op === 'IS' || op === 'IS NOT') {
    return (value === literal) === (op === 'IS');
  }
  if (op === 'NOT IN' && (literal as Value[]).length === 0) {
    return true;
  }
  if (value === null || literal === null) {
    return false;
  }
  switch (op) {
    case '=':
    case '!=':
      return (value === literal) === (op === '=');
    case '<':
      return compareValues(value, literal as Value) < 0;
    case '<=':
      return compareValues(value, literal as Value) <= 0;
    case '>':
      return compareValues(value, literal as Value) > 0;
    case '>=':
      return compareValues(value, literal as Value) >= 0;
    case 'IN':
    case 'NOT IN':
      return (literal as Value[]).includes(value) === (op === 'IN');
    case 'LIKE':
    case 'NOT LIKE':
      return like(value as string, literal as string) === (op === 'LIKE');
    case 'ILIKE':
    case 'NOT ILIKE':
      return like((value as string).toLowerCase(), (literal as string).toLowerCase()) === (op === 'ILIKE');
  }
}

function compareValues(a: Value, b: Value): number {
  if (a === null || b === null) {
    return a === b ? 0 : a === null ? -1 : 1;
  }
  return typeof a === 'string' ? Buffer.compare(Buffer.from(a), Buffer.from(b as string)) : Number(a) - Number(b);
}

function like(text: string, pattern: string): boolean {
  const parts = [...pattern.matchAll(/\\(.)|([%_])|(.)/gsu)].map(([, escaped, wild, plain]) =>
    wild === '%' ? '.*' : wild === '_' ? '.' : (escaped ?? plain)!.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'),
  );
  return new RegExp(`^${parts.join('')}$`, 'su').test(text);
}

test('random queries give what a plain evaluation gives', {timeout: 120_000}, async () => {
  const until = Date.now() + Number(process.env['LANDFALL_TEST_SECONDS'] ?? 3) * 1000;
  let seed = Number(process.env['LANDFALL_TEST_SEED'] ?? Date.now() % 1_000_000);
  let queries = 0;
  do {
    const random = new Random(seed);
    const tables = {x: randomRows(random), y: randomRows(random)};
    const asts = Array.from({length: 40}, () => randomQuery(random, 3, false));
    await db.transaction(async tx => {
      await tx.dbTransaction.query('TRUNCATE x, y', []);
      for (const row of tables.x) {
        await tx.mutate.x.insert(row as never);
      }
      for (const row of tables.y) {
        await tx.mutate.y.insert(row as never);
      }
      const serverSchema = await serverSchemaOf(tx, schema);
      const evaluation = new Evaluation(tables);
      for (const ast of asts) {
        const found = await tx.dbTransaction.runQuery(ast, plural, schema, serverSchema);
        expect(found, `seed ${seed}: ${JSON.stringify(ast)}`).toEqual(evaluation.rows(ast));
        queries++;
      }
    });
    seed++;
  } while (Date.now() < until);
  expect(queries).toBeGreaterThan(0);
});
