// Queries as data: the neutral form in which tests/cases/builder.json describes them for the builders of all languages.
import type {AnyQuery, SchemaQuery} from '../src/index.js';
import type {TestSchema} from './schema.js';

/** The table, then the calls. */
export type Description = readonly [table: string, ...calls: Call[]];

type Options = {readonly flip?: boolean; readonly scalar?: boolean};
type Subquery = readonly [relationship: string, calls?: readonly Call[], options?: Options];

type Call =
  | {readonly where: readonly unknown[] | Expression}
  | {readonly whereExists: Subquery}
  | {readonly related: Subquery}
  | {readonly orderBy: readonly [string, string]}
  | {readonly limit: number}
  | {readonly one: true}
  | {readonly start: {readonly row: object; readonly inclusive?: boolean}};

type Expression =
  | {readonly cmp: readonly unknown[]}
  | {readonly cmpLit: readonly unknown[]}
  | {readonly and: readonly (Expression | null)[]}
  | {readonly or: readonly (Expression | null)[]}
  | {readonly not: Expression}
  | {readonly exists: Subquery};

/** Makes the calls that a description lists; `null` in a group stands for `undefined`. */
export function describedQuery(zql: SchemaQuery<TestSchema>, [table, ...calls]: Description): AnyQuery {
  return called((zql as any)[table], calls);
}

function called(query: any, calls: readonly Call[] = []): any {
  return calls.reduce((query, call) => {
    const [[method, argument]] = Object.entries(call) as [[string, any]];
    switch (method) {
      case 'where':
        return Array.isArray(argument) ? query.where(...argument) : query.where((eb: any) => expression(eb, argument));
      case 'whereExists':
      case 'related':
        return query[method](...subquery(argument));
      case 'start':
        return 'inclusive' in argument
          ? query.start(argument.row, {inclusive: argument.inclusive})
          : query.start(argument.row);
      case 'one':
        return query.one();
      case 'orderBy':
        return query.orderBy(...argument);
      case 'limit':
        return query.limit(argument);
      default:
        throw new Error(`no such call: ${method}`);
    }
  }, query);
}

function subquery([relationship, calls, options]: Subquery): unknown[] {
  const inner = calls && [(query: unknown) => called(query, calls)];
  return [relationship, ...(inner ?? []), ...(options ? [options] : [])];
}

function expression(eb: any, node: Expression): any {
  const [[name, argument]] = Object.entries(node) as [[string, any]];
  switch (name) {
    case 'cmp':
    case 'cmpLit':
      return eb[name](...argument);
    case 'and':
    case 'or':
      return eb[name](...argument.map((child: Expression | null) => (child === null ? undefined : expression(eb, child))));
    case 'not':
      return eb.not(expression(eb, argument));
    case 'exists':
      return eb.exists(...subquery(argument));
    default:
      throw new Error(`no such expression: ${name}`);
  }
}

/** JSON with every value that fits on one line. */
export function wideJSON(value: unknown, indent = '', used = 0): string {
  const compact = JSON.stringify(value);
  if (typeof value !== 'object' || value === null || indent.length + used + compact.length <= 120) {
    return compact;
  }
  const inner = `${indent}  `;
  const lines = Array.isArray(value)
    ? value.map(member => inner + wideJSON(member, inner))
    : Object.entries(value)
        .filter(([, member]) => member !== undefined)
        .map(([name, member]) => `${inner}${JSON.stringify(name)}: ${wideJSON(member, inner, name.length + 4)}`);
  const [open, close] = Array.isArray(value) ? '[]' : '{}';
  return `${open}\n${lines.join(',\n')}\n${indent}${close}`;
}
