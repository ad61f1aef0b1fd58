import type {Relationship, Relationships} from './relationships.js';
import type {TableSchema} from './table-schema.js';

/** A schema in its runtime shape: plain JSON. */
export interface Schema {
  readonly tables: {readonly [table: string]: TableSchema};
  readonly relationships: {readonly [table: string]: {readonly [relationship: string]: Relationship}};
  readonly enableLegacyQueries?: boolean | undefined;
  readonly enableLegacyMutators?: boolean | undefined;
}

type AnyTable = {readonly schema: TableSchema; build(): TableSchema};

/**
 * Puts tables and relationships together, and checks that they fit.
 *
 * ```ts
 * const schema = createSchema({tables: [user, issue], relationships: [issueRelationships]});
 * ```
 */
export function createSchema<
  const TTables extends readonly AnyTable[],
  const TRelationships extends readonly Relationships[] = readonly [],
  const TQueries extends boolean | undefined = undefined,
  const TMutators extends boolean | undefined = undefined,
>(options: {
  readonly tables: TTables;
  readonly relationships?: TRelationships | undefined;
  readonly enableLegacyQueries?: TQueries | undefined;
  readonly enableLegacyMutators?: TMutators | undefined;
}): {
  readonly tables: {readonly [K in TTables[number] as K['schema']['name']]: K['schema']};
  readonly relationships: {readonly [K in TRelationships[number] as K['name']]: K['relationships']};
  readonly enableLegacyQueries: TQueries;
  readonly enableLegacyMutators: TMutators;
} {
  const tables = buildTables(options.tables);
  const relationships: {[table: string]: Relationships['relationships']} = {};
  for (const {name, relationships: declared} of options.relationships ?? []) {
    if (Object.hasOwn(relationships, name)) {
      throw new Error(`Relationships for table "${name}" are defined more than once in the schema`);
    }
    relationships[name] = declared;
    checkRelationships(tables, name, declared);
  }
  return {
    tables,
    relationships,
    enableLegacyQueries: options.enableLegacyQueries,
    enableLegacyMutators: options.enableLegacyMutators,
  } as never;
}

type BuiltTables = {readonly [table: string]: TableSchema};

function buildTables(declared: readonly AnyTable[]): BuiltTables {
  const tables: {[table: string]: TableSchema} = {};
  const serverNames = new Set<string>();
  for (const declaration of declared) {
    const table = declaration.build();
    const serverName = table.serverName ?? table.name;
    if (serverNames.has(serverName)) {
      throw new Error(`Multiple tables reference the name "${serverName}"`);
    }
    if (Object.hasOwn(tables, table.name)) {
      throw new Error(`Table "${table.name}" is defined more than once in the schema`);
    }
    serverNames.add(serverName);
    tables[table.name] = table;
  }
  return tables;
}

function checkRelationships(tables: BuiltTables, name: string, declared: Relationships['relationships']): void {
  const source = ownTable(tables, name);
  for (const [relationship, hops] of Object.entries(declared)) {
    const label = `relationship "${name}"."${relationship}"`;
    if (source === undefined) {
      throw new Error(`For ${label}, the source table "${name}" is missing in the schema`);
    }
    if (Object.hasOwn(source.columns, relationship)) {
      throw new Error(
        `Relationship "${name}"."${relationship}" cannot have the same name as the column "${relationship}" on the the table "${name}"`,
      );
    }
    let from = source;
    for (const hop of hops) {
      const to = ownTable(tables, hop.destSchema);
      if (to === undefined) {
        throw new Error(`For ${label}, destination table "${hop.destSchema}" is missing in the schema`);
      }
      checkFields(label, 'source', from, hop.sourceField);
      checkFields(label, 'destination', to, hop.destField);
      if (hop.sourceField.length !== hop.destField.length) {
        throw new Error(
          `For ${label}, sourceField has ${hop.sourceField.length} columns and destField has ${hop.destField.length}`,
        );
      }
      from = to;
    }
  }
}

function ownTable(tables: BuiltTables, name: string): TableSchema | undefined {
  return Object.hasOwn(tables, name) ? tables[name] : undefined;
}

function checkFields(
  label: string,
  end: 'source' | 'destination',
  table: TableSchema,
  fields: readonly string[],
): void {
  for (const field of fields) {
    if (!Object.hasOwn(table.columns, field)) {
      throw new Error(`For ${label}, the ${end} field "${field}" is missing in the table schema "${table.name}"`);
    }
  }
}

