// Schemas, queries and writes at random, as data: either package makes its own of them.

export class Random {
  #state;

  constructor(seed) {
    this.#state = seed;
  }

  below(n) {
    this.#state = (Math.imul(this.#state, 1664525) + 1013904223) >>> 0;
    return Math.floor((this.#state / 2 ** 32) * n);
  }

  chance(oneIn) {
    return this.below(oneIn) === 0;
  }

  pick(list) {
    return list[this.below(list.length)];
  }

  list(most, make) {
    return Array.from({ length: this.below(most + 1) }, make);
  }
}

const VALUES = {
  string: ['', 'a', 'b', 'ab', 'B', 'é', '👋', '\uffff', 'a%b'],
  number: [0, 1, 2, -1, 1.5, 1e15, 9007199254740993, 5e-7],
  boolean: [false, true],
  json: [{ a: 1 }, [1, 'x'], 'text', 5, true, { b: { c: null } }, []],
  key: ['1', '2', '3', '4', '5'],
};
// Not `_`, which is half a 👋 in Zero.
const PATTERNS = ['%', 'a%', '%b', 'A%', '%\\%%', 'é', '%A%'];
const COMPARISONS = ['=', '!=', '<', '<=', '>', '>=', 'IS', 'IS NOT', 'IN', 'NOT IN', 'LIKE', 'NOT ILIKE'];

/** Tables that refer to later ones only: Zero loses rows where a table is joined with itself. */
export function randomTables(random) {
  const tables = Array.from({ length: 3 + random.below(3) }, (_, i) => {
    const column = (name, type) => ({ name, type, isOptional: random.chance(2), from: random.chance(4) ? `its_${name}` : undefined });
    const keys = [{ name: 'id', type: 'key', isOptional: false }];
    if (random.chance(3)) keys.push({ name: random.pick(['a', 'z']), type: random.pick(['number', 'string', 'boolean']), isOptional: false });
    const others = random.list(3, (_, n) => column(`c${n}`, random.pick(['string', 'number', 'boolean', 'json'])));
    return {
      name: `t${i}`,
      from: random.chance(3) ? `its_t${i}` : undefined,
      columns: [...keys, ...others, column('x', 'string'), column('f', 'key'), column('g', 'key')],
      primaryKey: random.chance(2) ? keys.map(({ name }) => name) : keys.map(({ name }) => name).reverse(),
    };
  });
  tables.forEach((table, i) => {
    const later = tables.slice(i + 1);
    const withOneKey = later.filter(({ primaryKey }) => primaryKey.length === 1);
    table.relationships = later.length === 0 ? [] : random.list(2, (_, n) => {
      const reference = random.pick(['f', 'g']);
      const many = ['id', reference, random.pick(later).name];
      if (withOneKey.length === 0 || random.chance(2)) return { name: `r${n}`, cardinality: 'many', hops: [many] };
      const one = [reference, 'id', random.pick(withOneKey).name];
      if (random.chance(2) || many[2] === one[2]) return { name: `r${n}`, cardinality: 'one', hops: [one] };
      return { name: `r${n}`, cardinality: 'many', hops: [many, one] };
    });
  });
  return tables;
}

/** The schema of the tables, and its builder. */
export function makeSchema(pkg, tables) {
  const made = new Map();
  for (const { name, from, columns, primaryKey } of tables) {
    const types = columns.map(({ name: column, type, isOptional, from: its }) => {
      let builder = pkg[type === 'key' ? 'string' : type]();
      if (isOptional) builder = builder.optional();
      return [column, its === undefined ? builder : builder.from(its)];
    });
    const builder = from === undefined ? pkg.table(name) : pkg.table(name).from(from);
    made.set(name, builder.columns(Object.fromEntries(types)).primaryKey(...primaryKey));
  }
  const relationships = tables.map(table => pkg.relationships(made.get(table.name), connectors => Object.fromEntries(table.relationships.map(
    ({ name, cardinality, hops }) => [name, connectors[cardinality](...hops.map(([source, destination, to]) => (
      { sourceField: [source], destField: [destination], destSchema: made.get(to) }
    )))],
  ))));
  const schema = pkg.createSchema({ tables: [...made.values()], relationships });
  return { schema, zql: pkg.createBuilder(schema) };
}

function randomValue(random, { type, isOptional }) {
  return isOptional && random.chance(4) ? null : random.pick(VALUES[type]);
}

function randomCondition(random, tables, table, depth) {
  const kind = depth === 0 ? 0 : random.below(6);
  if (kind === 5 && table.relationships.length > 0) {
    const { name, hops } = random.pick(table.relationships);
    const below = tables.find(it => it.name === hops.at(-1)[2]);
    return ['exists', name, random.chance(3) ? undefined : randomCondition(random, tables, below, depth - 1)];
  }
  // Zero's client takes no `not(exists)`.
  if (kind === 4) return ['not', randomCondition(random, tables, table, 0)];
  if (kind === 3) return [random.pick(['and', 'or']), ...random.list(3, () => randomCondition(random, tables, table, depth - 1))];
  const column = random.pick(table.columns.filter(({ type }) => type !== 'json'));
  const isText = column.type === 'string' || column.type === 'key';
  const op = random.pick(COMPARISONS.filter(it => (isText || !it.endsWith('LIKE')) && (column.type !== 'boolean' || !/[<>]/.test(it))));
  const value = () => randomValue(random, { ...column, isOptional: false });
  if (op.endsWith('LIKE')) return ['cmp', column.name, op, random.pick(PATTERNS)];
  if (op.endsWith('IN')) return ['cmp', column.name, op, [value(), ...random.list(2, value)]];
  return ['cmp', column.name, op, op.startsWith('IS') && random.chance(2) ? null : value()];
}

/** A query of a table with what is related, `depth` levels deep. */
export function randomQuery(random, tables, table, depth, isBehindJunction = false) {
  const query = { table: table.name, where: random.list(2, () => randomCondition(random, tables, table, 2)), related: [], orderBy: [] };
  for (const { name, hops } of depth === 0 ? [] : table.relationships.filter(() => random.chance(2))) {
    query.related.push([name, randomQuery(random, tables, tables.find(it => it.name === hops.at(-1)[2]), depth - 1, hops.length === 2)]);
  }
  if (isBehindJunction) return query;
  const columns = table.columns.filter(({ type }) => type !== 'json').map(({ name }) => name);
  query.orderBy = [...new Set(random.list(2, () => random.pick(columns)))].map(name => [name, random.pick(['asc', 'desc'])]);
  if (random.chance(6)) {
    const names = [...query.orderBy.map(([name]) => name), ...table.primaryKey];
    const row = Object.fromEntries(names.map(name => [name, randomValue(random, table.columns.find(it => it.name === name))]));
    query.start = [row, { inclusive: random.chance(2) }];
  }
  if (random.chance(3)) query.limit = 1 + random.below(4);
  else if (random.chance(4)) query.one = true;
  return query;
}

function condition(eb, [kind, ...parts]) {
  switch (kind) {
    case 'cmp': return eb.cmp(...parts);
    case 'exists': return eb.exists(parts[0], ...(parts[1] === undefined ? [] : [below => below.where(it => condition(it, parts[1]))]));
    default: return eb[kind](...parts.map(part => condition(eb, part)));
  }
}

/** The query that was drawn, by the builder of either package. */
export function makeQuery(builder, { where, related, orderBy, start, limit, one }) {
  let query = builder;
  for (const drawn of where) query = query.where(eb => condition(eb, drawn));
  for (const [name, below] of related) query = query.related(name, it => makeQuery(it, below));
  for (const order of orderBy) query = query.orderBy(...order);
  if (start !== undefined) query = query.start(...start);
  if (limit !== undefined) query = query.limit(limit);
  return one ? query.one() : query;
}

/** A row, or with `isPart` a row in which what may lack lacks at times. */
export function randomRow(random, { columns }, isPart) {
  const given = columns.filter(({ isOptional }) => !isPart || !isOptional || !random.chance(4));
  return Object.fromEntries(given.map(column => [column.name, randomValue(random, column)]));
}

/** One write of a mutator: what to do, the table, the row. */
export function randomWrite(random, tables) {
  const table = random.pick(tables);
  const row = randomRow(random, table, true);
  const op = random.pick(['insert', 'insert', 'upsert', 'update', 'update', 'delete']);
  const isKept = name => table.primaryKey.includes(name) || (op !== 'delete' && (op !== 'update' || random.chance(2)));
  return [op, table.name, Object.fromEntries(Object.entries(row).filter(([name]) => isKept(name)))];
}
