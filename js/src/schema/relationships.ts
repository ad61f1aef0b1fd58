import type {TableBuilderWithColumns} from './table.js';
import type {TableSchema} from './table-schema.js';

/** Whether a relationship leads to one row or to a list. */
export type Cardinality = 'one' | 'many';

/** One hop: rows of `destSchema` whose `destField` values equal the `sourceField` values. */
export interface Connection {
  readonly sourceField: readonly string[];
  readonly destField: readonly string[];
  readonly destSchema: string;
  readonly cardinality: Cardinality;
}

/** One hop, or two through a junction table. */
export type Relationship = readonly [Connection] | readonly [Connection, Connection];

/** The relationships of one table, as `createSchema` takes them. */
export interface Relationships {
  readonly name: string;
  readonly relationships: {readonly [relationship: string]: Relationship};
}

type ColumnOf<T extends TableSchema> = keyof T['columns'] & string;
type FieldList<T extends TableSchema> = readonly [ColumnOf<T>, ...ColumnOf<T>[]];

type ConnectArg<TSource extends TableSchema, TDest extends TableSchema> = {
  readonly sourceField: FieldList<TSource>;
  readonly destField: FieldList<TDest>;
  readonly destSchema: TableBuilderWithColumns<TDest>;
};

type Hop<TDest extends TableSchema, TCardinality extends Cardinality> = {
  readonly sourceField: readonly string[];
  readonly destField: readonly string[];
  readonly destSchema: TDest['name'];
  readonly cardinality: TCardinality;
};

/** Declares one relationship: one hop, or two through a junction table. */
export interface Connect<TSource extends TableSchema, TCardinality extends Cardinality> {
  <TDest extends TableSchema>(hop: ConnectArg<TSource, TDest>): readonly [Hop<TDest, TCardinality>];
  <TJunction extends TableSchema, TDest extends TableSchema>(
    first: ConnectArg<TSource, TJunction>,
    second: ConnectArg<TJunction, TDest>,
  ): readonly [Hop<TJunction, TCardinality>, Hop<TDest, TCardinality>];
}

/**
 * Declares the relationships of a table.
 *
 * ```ts
 * relationships(issue, ({one, many}) => ({
 *   owner: one({sourceField: ['ownerID'], destField: ['id'], destSchema: user}),
 *   comments: many({sourceField: ['id'], destField: ['issueID'], destSchema: comment}),
 * }))
 * ```
 */
export function relationships<
  const TSource extends TableSchema,
  const TRelationships extends {readonly [relationship: string]: Relationship},
>(
  source: TableBuilderWithColumns<TSource>,
  declare: (connect: {
    readonly one: Connect<TSource, 'one'>;
    readonly many: Connect<TSource, 'many'>;
  }) => TRelationships,
): {name: TSource['name']; relationships: TRelationships} {
  return {
    name: source.schema.name,
    relationships: declare({one: connector('one'), many: connector('many')}),
  };
}

function connector<TSource extends TableSchema, TCardinality extends Cardinality>(
  cardinality: TCardinality,
): Connect<TSource, TCardinality> {
  const connect = (...hops: ConnectArg<TableSchema, TableSchema>[]) =>
    hops.map(({sourceField, destField, destSchema}) => ({
      sourceField,
      destField,
      destSchema: destSchema.schema.name,
      cardinality,
    }));
  return connect as unknown as Connect<TSource, TCardinality>;
}
