import type {ColumnKind} from './column-kind.js';
import type {ServerColumn} from './server-schema.js';

/** The SQL expression for a column's value as clients see it. `ref` is the column in SQL. */
export function readExpression(column: ServerColumn, ref: string): string {
  if (!column.isArray) {
    return scalarExpression(column.kind, ref);
  }
  if (!needsElementExpression(column.kind)) {
    return `to_json(${ref})`;
  }
  // Elements come in one flat list with the dimensions beside it: SQL has no map over a nested array.
  const element = scalarExpression(column.kind, 'e.v');
  const flat = `ARRAY(SELECT ${element} FROM unnest(${ref}) WITH ORDINALITY AS e(v, n) ORDER BY e.n)`;
  return `CASE WHEN ${ref} IS NOT NULL THEN json_build_object('dims', array_dims(${ref}), 'flat', ${flat}) END`;
}

function scalarExpression(kind: ColumnKind, ref: string): string {
  switch (kind) {
    case 'real':
    case 'double':
    case 'numeric':
      return `CASE WHEN ${ref} NOT IN ('NaN', 'Infinity', '-Infinity') THEN ${ref} END`;
    case 'date':
    case 'timestamp':
    case 'timestamptz':
      return `CASE WHEN isfinite(${ref}) THEN extract(epoch FROM ${ref}) * 1000 END`;
    case 'time':
      return `floor(extract(epoch FROM ${ref}) * 1000)`;
    case 'timetz':
      // The zone is subtracted, which can leave the day on either side.
      return `mod(floor(extract(epoch FROM ${ref}) * 1000) + 86400000, 86400000)`;
    case 'integer':
    case 'bigint':
    case 'boolean':
    case 'text':
    case 'character':
    case 'uuid':
    case 'enum':
    case 'inet':
    case 'named-text':
    case 'json':
      return ref;
  }
}

function needsElementExpression(kind: ColumnKind): boolean {
  return scalarExpression(kind, '') !== '';
}

/** The SQL expression for a string column as text, written as clients see it. */
export function textExpression(column: ServerColumn, ref: string): string {
  switch (column.kind) {
    case 'text':
      return ref;
    case 'inet':
      // A plain cast would append the length of the network mask to a host address.
      return `abbrev(${ref})`;
    case 'character':
      // A plain cast would drop the padding, which clients do see.
      return `CASE WHEN ${ref} IS NOT NULL THEN format('%s', ${ref}) END`;
    default:
      return `${ref}::text`;
  }
}

/** Finishes a column's value after `JSON.parse`; undefined when there is nothing to do. */
export function valueDecoder(column: ServerColumn): ((value: unknown) => unknown) | undefined {
  if (column.kind === 'bigint') {
    return value => checkSafe(value, column.label);
  }
  if (column.isArray && needsElementExpression(column.kind)) {
    return value => (value === null ? null : reshape(value as FlatArray));
  }
  return undefined;
}

function checkSafe(value: unknown, label: string): unknown {
  if (Array.isArray(value)) {
    return value.map(element => checkSafe(element, label));
  }
  if (typeof value === 'number' && !Number.isSafeInteger(value)) {
    throw new RangeError(`A value of ${label} is outside of the whole numbers that JavaScript can hold`);
  }
  return value;
}

interface FlatArray {
  /** As `array_dims` writes it: `[1:2][1:3]`; null for an empty array. */
  readonly dims: string | null;
  readonly flat: readonly unknown[];
}

function reshape({dims, flat}: FlatArray): readonly unknown[] {
  const sizes = [...(dims ?? '').matchAll(/\[(-?\d+):(-?\d+)\]/g)].map(([, from, to]) => Number(to) - Number(from) + 1);
  let level: readonly unknown[] = flat;
  for (const size of sizes.slice(1).reverse()) {
    level = Array.from({length: level.length / size}, (_, i) => level.slice(i * size, (i + 1) * size));
  }
  return level;
}
