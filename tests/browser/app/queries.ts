import { defineQueries, defineQuery, escapeLike } from 'landfall';
import { z } from 'zod';
import { zql } from './schema.ts';

export const queries = defineQueries({
  tasks: {
    all: defineQuery(() => zql.task.orderBy('rank', 'asc')),
    byId: defineQuery(z.string(), ({ args: id }) => zql.task.where('id', id).one()),
  },
  counters: defineQuery(() => zql.counter.orderBy('id', 'asc')),
  cities: {
    all: defineQuery(() => zql.city.related('country')),
    byPrefix: defineQuery(z.object({ prefix: z.string(), limit: z.number() }), ({ args }) =>
      zql.city.where('name', 'LIKE', `${escapeLike(args.prefix)}%`).orderBy('name', 'asc').limit(args.limit)),
    largest: defineQuery(z.object({ limit: z.number() }), ({ args }) =>
      zql.city.orderBy('population', 'desc').limit(args.limit)),
    ofCountry: defineQuery(z.object({ code: z.string() }), ({ args }) =>
      zql.city.where('countryCode', args.code).orderBy('name', 'asc').related('country')),
    countryWithCities: defineQuery(z.object({ code: z.string(), limit: z.number() }), ({ args }) =>
      zql.country.where('code', args.code).related('cities', q => q.orderBy('population', 'desc').limit(args.limit)).one()),
  },
});
