import type {Schema} from '../schema/schema.js';
import {completeOrder} from './order.js';
import type {AST, Condition, Correlation, CorrelatedSubquery, Ordering} from './ast.js';

/** Translates names of tables and columns. */
export interface NameMapper {
  tableName(table: string): string;
  columnName(table: string, column: string): string;
}

/** From the names in the schema's TypeScript to the names at the server. */
export function clientToServer(schema: Schema): NameMapper {
  const tableOf = (name: string) => {
    const table = Object.hasOwn(schema.tables, name) ? schema.tables[name] : undefined;
    if (table === undefined) {
      throw new Error(`unknown table "${name}" `);
    }
    return table;
  };
  return {
    tableName: name => tableOf(name).serverName ?? name,
    columnName(name, column) {
      const {columns} = tableOf(name);
      const found = Object.hasOwn(columns, column) ? columns[column] : undefined;
      if (found === undefined) {
        throw new Error(`unknown column "${column}" of "${name}" table `);
      }
      return found.serverName ?? column;
    },
  };
}

/**
 * The same query with what its orders leave open where that is the columns of a compound key: the database may have these
 * in another order than the schema, and so other first rows.
 */
export function completeOrders(ast: AST, schema: Schema): AST {
  const key = Object.hasOwn(schema.tables, ast.table) ? schema.tables[ast.table]!.primaryKey : [];
  return {
    ...ast,
    ...(key.length > 1 && {orderBy: completeOrder(ast.orderBy, key)}),
    ...(ast.related && {
      related: ast.related.map(related => ({...related, subquery: completeOrders(related.subquery, schema)})),
    }),
  };
}

/** The same query in other names; aliases, values and parameters stay. */
export function mapAST(ast: AST, mapper: NameMapper): AST {
  const {table} = ast;
  const column = (name: string) => mapper.columnName(table, name);
  return {
    ...ast,
    table: mapper.tableName(table),
    ...(ast.where && {where: mapCondition(ast.where, table, mapper)}),
    ...(ast.related && {related: ast.related.map(related => mapSubquery(related, table, mapper))}),
    ...(ast.start && {
      start: {
        row: Object.fromEntries(Object.entries(ast.start.row).map(([name, value]) => [column(name), value])),
        exclusive: ast.start.exclusive,
      },
    }),
    ...(ast.orderBy && {orderBy: ast.orderBy.map(([name, direction]) => [column(name), direction]) as Ordering}),
  };
}

/** The same condition on rows of `table` in other names. */
export function mapCondition(condition: Condition, table: string, mapper: NameMapper): Condition {
  switch (condition.type) {
    case 'and':
    case 'or':
      return {...condition, conditions: condition.conditions.map(child => mapCondition(child, table, mapper))};
    case 'correlatedSubquery':
      return {...condition, related: mapSubquery(condition.related, table, mapper)};
    case 'simple': {
      const {left} = condition;
      return left.type === 'column'
        ? {...condition, left: {type: 'column', name: mapper.columnName(table, left.name)}}
        : condition;
    }
  }
}

function mapSubquery(related: CorrelatedSubquery, parent: string, mapper: NameMapper): CorrelatedSubquery {
  const {correlation, subquery} = related;
  const map = (table: string, names: readonly string[]) => names.map(name => mapper.columnName(table, name));
  return {
    ...related,
    correlation: {
      parentField: map(parent, correlation.parentField),
      childField: map(subquery.table, correlation.childField),
    } as unknown as Correlation,
    subquery: mapAST(subquery, mapper),
  };
}
