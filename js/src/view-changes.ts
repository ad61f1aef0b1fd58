/**
 * From one state of a query's answer to the next, as changes of single rows.
 *
 * States share what did not change, so the cost is that of comparing references, and of what did.
 */
import {type Snapshot, shownRelated} from './core/view-tree.js';
import type {AST, Condition} from './query/ast.js';
import type {Format} from './query/internals.js';
import {completeOrder, rowComparator} from './query/order.js';
import {type Change, changeType, type Node, type NodeRow, type SourceSchema} from './query/view-factory.js';
import type {Schema} from './schema/schema.js';

/** An entry of a published answer: the columns of a row, and the lists of what is related to it. */
export type Item = {readonly [name: string]: unknown};

/** One list of a query's answer, and the lists inside its entries. */
export interface Level {
  readonly schema: SourceSchema;
  readonly singular: boolean;
  /** The columns of a row, and whether they hold JSON. */
  readonly columns: readonly (readonly [name: string, isJSON: boolean])[];
  /** A row that gets another value here is told as gone and come: what belongs to it is another thing. */
  readonly identity: readonly string[];
  readonly relationships: readonly (readonly [name: string, level: Level])[];
}

/** The levels of a query. */
export function levelsOf(schema: Schema, ast: AST, format: Format, joinedBy: readonly string[] = []): Level {
  const table = schema.tables[ast.table];
  if (table === undefined) {
    throw new TypeError(`The schema has no table "${ast.table}".`);
  }
  const related = shownRelated(ast);
  const relationships = related.map(({subquery, hidden, correlation}): [string, Level] => {
    const name = subquery.alias ?? '';
    const inner = format.relationships[name];
    // Behind a hidden junction the far rows stand in the list of the outer relationship.
    const hop = hidden === true ? subquery.related?.[0] : undefined;
    if (inner === undefined || (hidden === true && hop === undefined)) {
      throw new TypeError(`The relationship "${name}" of a query has no format.`);
    }
    const {childField} = hop?.correlation ?? correlation;
    return [name, levelsOf(schema, hop?.subquery ?? subquery, inner, childField)];
  });
  const sort = completeOrder(ast.orderBy, table.primaryKey);
  return {
    schema: {
      tableName: ast.table,
      columns: table.columns,
      primaryKey: table.primaryKey,
      relationships: Object.fromEntries(relationships.map(([name, level]) => [name, level.schema])),
      isHidden: false,
      system: 'client',
      compareRows: rowComparator(sort),
      sort,
    },
    singular: format.singular,
    columns: Object.entries(table.columns).map(([name, {type}]) => [name, type === 'json']),
    identity: [...joinedBy, ...related.flatMap(parentFields), ...subqueriesOf(ast.where).flatMap(parentFields)],
    relationships,
  };
}

function parentFields({correlation}: {readonly correlation: {readonly parentField: readonly string[]}}): readonly string[] {
  return correlation.parentField;
}

function subqueriesOf(condition: Condition | undefined): {readonly correlation: {readonly parentField: readonly string[]}}[] {
  switch (condition?.type) {
    case 'and':
    case 'or':
      return condition.conditions.flatMap(subqueriesOf);
    case 'correlatedSubquery':
      return [condition.related];
    default:
      return [];
  }
}

/** The rows of a state. */
export function nodesOf(level: Level, state: Snapshot): Node[] {
  return itemsOf(state).map(item => nodeOf(level, item));
}

/** Tells how the second state comes from the first: what went, then what came or changed, in the order of the list. */
export function tellChanges(level: Level, before: Snapshot, after: Snapshot, tell: (change: Change) => void): void {
  if (before === after) {
    return;
  }
  const olds = itemsOf(before);
  const news = itemsOf(after);
  const {start, end} = sameEnds(olds, news);
  const stay = new Map<string, Item>();
  const come = news.slice(start, news.length - end);
  const keys = come.map(item => keyOf(level, item));
  const wanted = new Map(keys.map((key, i) => [key, come[i]!]));
  for (const item of olds.slice(start, olds.length - end)) {
    const key = keyOf(level, item);
    const next = wanted.get(key);
    if (next !== undefined && level.identity.every(column => equal(item[column], next[column]))) {
      stay.set(key, item);
    } else {
      tell([changeType.remove, nodeOf(level, item), null]);
    }
  }
  come.forEach((item, i) => {
    const old = stay.get(keys[i]!);
    if (old === undefined) {
      tell([changeType.add, nodeOf(level, item), null]);
    } else if (old !== item) {
      tellInside(level, old, item, tell);
    }
  });
}

/** How many entries two lists have in common at their beginnings and at their ends. */
export function sameEnds(olds: readonly Item[], news: readonly Item[]): {readonly start: number; readonly end: number} {
  let start = 0;
  while (start < olds.length && start < news.length && olds[start] === news[start]) {
    start++;
  }
  let end = 0;
  const most = Math.min(olds.length, news.length) - start;
  while (end < most && olds[olds.length - 1 - end] === news[news.length - 1 - end]) {
    end++;
  }
  return {start, end};
}

function tellInside(level: Level, before: Item, after: Item, tell: (change: Change) => void): void {
  const node = nodeOf(level, after);
  if (!level.columns.every(([column]) => equal(before[column], after[column]))) {
    tell([changeType.edit, node, nodeOf(level, before)]);
  }
  for (const [relationshipName, inner] of level.relationships) {
    tellChanges(inner, before[relationshipName] as Snapshot, after[relationshipName] as Snapshot, change =>
      tell([changeType.child, node, {relationshipName, change}]),
    );
  }
}

/** The entries of a state, which is a list, or one entry or none. */
export function itemsOf(state: Snapshot): readonly Item[] {
  return state === undefined ? [] : Array.isArray(state) ? (state as readonly Item[]) : [state as Item];
}

function nodeOf(level: Level, item: Item): Node {
  // Without relationships the entry is the row itself.
  const row = level.relationships.length === 0 ? item : Object.fromEntries(level.columns.map(([name]) => [name, item[name]]));
  const relationships: Node['relationships'] = {};
  for (const [name, inner] of level.relationships) {
    relationships[name] = () => nodesOf(inner, item[name] as Snapshot);
  }
  return {row: row as NodeRow, relationships};
}

/** Tells the rows of a level apart. */
export function keyOf({schema: {primaryKey}}: Level, item: Item): string {
  return primaryKey.length === 1 ? String(item[primaryKey[0]]) : JSON.stringify(primaryKey.map(column => item[column]));
}

/** Whether two values of a column are the same; those of JSON are other objects in each version of their row. */
export function equal(a: unknown, b: unknown): boolean {
  return a === b || (typeof a === 'object' && typeof b === 'object' && JSON.stringify(a) === JSON.stringify(b));
}
