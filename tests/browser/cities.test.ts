// Real data: the GeoNames cities in a real Postgres, queried in Chromium, every answer compared with SQL.
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Page } from 'playwright-core';
import { type City, cities, countries } from './geonames.ts';
import { modes, type Prepare } from './modes.ts';
import { Stage } from './stage.ts';
import { Chromium, until } from './world.ts';

let browser: Chromium;
let page: Page;

const quote = (text: string) => `'${text.replaceAll("'", "''")}'`;
const columns = ['id', 'name', 'country_code', 'population', 'lat', 'lon'] as const;

const load: Prepare = async ({ execute }) => {
  await execute(`INSERT INTO country VALUES ${countries.map(({ code, name }) => `(${quote(code)}, ${quote(name)})`).join(',')}`);
  for (let from = 0; from < cities.length; from += 5000) {
    const rows = cities.slice(from, from + 5000).map(city =>
      `(${city.id}, ${quote(city.name)}, ${quote(city.country_code)}, ${city.population}, ${city.lat}, ${city.lon})`);
    await execute(`INSERT INTO city (${columns.join(', ')}) VALUES ${rows.join(',')}`);
  }
};

const stage = new Stage(modes.postgres, load);
beforeAll(async () => {
  browser = await new Chromium().start();
  page = await stage.open(browser);
});
afterAll(() => browser?.close());

type Result = { data: unknown; type: string };
/** The complete answer of a named query in the page. */
const ask = (name: string, args: unknown): Promise<Result> => page.evaluate(async ([name, args]) => {
  const { zero, queries } = window.app;
  const query = name!.split('.').reduce((at: any, part: string) => at[part], queries)(args);
  return { data: JSON.parse(JSON.stringify(await zero.run(query, { type: 'complete' }))), type: 'complete' };
}, [name, args] as [string, unknown]);

const asCity = (row: Record<string, unknown>): City & { countryCode: unknown } => {
  const { country_code, ...rest } = row as unknown as City;
  return { ...rest, countryCode: country_code } as City & { countryCode: unknown };
};
const select = async (where: string) =>
  (await stage.mode.rows(`SELECT ${columns.join(', ')} FROM city ${where}`)).map(asCity);

test('there are more than 130,000 cities', async () => {
  expect((await stage.mode.rows('SELECT count(*)::int AS n FROM city'))[0]!.n).toBeGreaterThan(130_000);
});

test.each(['San ', 'Ber', 'Å', 'ال', 'Saint-', '100%', ''])('search by the prefix %j', async prefix => {
  const answer = await ask('cities.byPrefix', { prefix, limit: 50 });
  expect(answer.data).toEqual(await select(`WHERE starts_with(name, ${quote(prefix)}) ORDER BY name COLLATE "C", id LIMIT 50`));
});

test.each([1, 50, 1000])('the %i largest', async limit => {
  const answer = await ask('cities.largest', { limit });
  expect(answer.data).toEqual(await select(`ORDER BY population DESC, id LIMIT ${limit}`));
});

test.each(['DE', 'JP', 'VA', 'XX'])('cities of %s with their country', async code => {
  const country = countries.find(candidate => candidate.code === code);
  const answer = await ask('cities.ofCountry', { code });
  const expected = await select(`WHERE country_code = ${quote(code)} ORDER BY name COLLATE "C", id`);
  expect(answer.data).toEqual(expected.map(city => ({ ...city, country })));
});

test('a country with its ten largest cities', async () => {
  const answer = await ask('cities.countryWithCities', { code: 'FR', limit: 10 });
  expect(answer.data).toEqual({
    ...countries.find(({ code }) => code === 'FR'),
    cities: await select(`WHERE country_code = 'FR' ORDER BY population DESC, id LIMIT 10`),
  });
});

test('changes in Postgres arrive in open queries', async () => {
  await page.evaluate(() => {
    const { zero, queries } = window.app;
    const live = { largest: [] as readonly { id: number }[], germany: [] as readonly { id: number; name: string }[] };
    zero.materialize(queries.cities.largest({ limit: 10 })).addListener(data => { live.largest = data; });
    zero.materialize(queries.cities.ofCountry({ code: 'DE' })).addListener(data => { live.germany = data; });
    Object.assign(window, { live });
  });
  const live = (key: 'largest' | 'germany') => page.evaluate(key => JSON.parse(JSON.stringify((window as any).live[key])), key);
  const settled = () => until('the page shows what SQL answers', async () => {
    const largest = await select('ORDER BY population DESC, id LIMIT 10');
    const germany = await select(`WHERE country_code = 'DE' ORDER BY name COLLATE "C", id`);
    const shown = (await live('germany')).map(({ country: _, ...city }: City & { country: unknown }) => city);
    return JSON.stringify(await live('largest')) === JSON.stringify(largest.map(inShownOrder(await live('largest'))))
      && JSON.stringify(shown) === JSON.stringify(germany.map(inShownOrder(shown)));
  });
  await settled();
  await stage.mode.execute(`UPDATE city SET population = 99000000 WHERE id = (SELECT min(id) FROM city)`);
  await settled();
  await stage.mode.execute(`INSERT INTO city VALUES (900000001, 'Landfall', 'DE', 98000000, 54.5, 9.5)`);
  await settled();
  await stage.mode.execute(`UPDATE city SET country_code = 'DE' WHERE country_code = 'VA'`);
  await settled();
  await stage.mode.execute(`DELETE FROM city WHERE population > 20000000`);
  await settled();
});

/** JSON text depends on key order: gives the expected row the order of keys that the shown rows have. */
function inShownOrder(shown: object[]): (row: object) => object {
  const keys = Object.keys(shown[0] ?? {});
  return row => Object.fromEntries((keys.length ? keys : Object.keys(row)).map(key => [key, (row as Record<string, unknown>)[key]]));
}
