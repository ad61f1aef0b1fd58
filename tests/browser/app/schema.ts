import { boolean, createBuilder, createSchema, number, relationships, string, table } from 'landfall';

const task = table('task')
  .columns({ id: string(), title: string(), done: boolean(), rank: number(), note: string().optional() })
  .primaryKey('id');

const counter = table('counter').columns({ id: string(), value: number() }).primaryKey('id');

const country = table('country').columns({ code: string(), name: string() }).primaryKey('code');

const city = table('city')
  .columns({
    id: number(),
    name: string(),
    countryCode: string().from('country_code'),
    population: number(),
    lat: number(),
    lon: number(),
  })
  .primaryKey('id');

const related = [
  relationships(city, ({ one }) => ({
    country: one({ sourceField: ['countryCode'], destField: ['code'], destSchema: country }),
  })),
  relationships(country, ({ many }) => ({
    cities: many({ sourceField: ['code'], destField: ['countryCode'], destSchema: city }),
  })),
] as const;

export const schema = createSchema({ tables: [task, counter, country, city], relationships: [...related] });

/** The schema of the next release: a column less. It has a store of its own. */
export const nextSchema = createSchema({
  tables: [
    table('task').columns({ id: string(), title: string(), done: boolean(), rank: number() }).primaryKey('id'),
    counter, country, city,
  ],
  relationships: [...related],
});

/** A schema of a later release: a table and a column of each city less, and a column of tasks that the server must have. */
export const columnsMovedSchema = createSchema({
  tables: [
    table('task')
      .columns({ id: string(), title: string(), done: boolean(), rank: number(), note: string().optional(), due: string().optional() })
      .primaryKey('id'),
    country,
    table('city')
      .columns({ id: number(), name: string(), countryCode: string().from('country_code'), population: number(), lat: number() })
      .primaryKey('id'),
  ],
  relationships: [...related],
});

export const zql = createBuilder(schema);

declare module 'landfall' {
  interface DefaultTypes { schema: typeof schema }
}
