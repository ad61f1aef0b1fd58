/** `exportJSON`: text that comes in parts, over several tasks of the page. */
import {afterEach, expect, test, vi} from 'vitest';
import {defineMutators, defineMutatorWithType, Zero} from '../src/index.js';
import {nextTask} from '../src/core/next-task.js';
import {schema, type TestSchema} from './schema.js';

const mutators = defineMutators({
  rename: defineMutatorWithType<TestSchema>()(async ({tx, args}: {tx: any; args: any}) => {
    await tx.mutate.label.upsert({id: args.id, name: args.name});
  }),
});

afterEach(() => void vi.restoreAllMocks());

const names = (text: string) =>
  (JSON.parse(text) as {mutations: {argsJson: string}[]}).mutations.map(({argsJson}) => (JSON.parse(argsJson) as [{id: string}])[0].id);

/** A client that holds so many writes, each of which is long. */
async function holding(count: number) {
  const zero = new Zero<TestSchema, typeof mutators, unknown>({schema, mutators, userID: 'u1', kvStore: 'mem', cacheURL: null, logLevel: 'error'});
  const write = (n: number) => zero.mutate(mutators.rename({id: `l${n}`, name: 'x'.repeat(5000)}) as never) as {client: Promise<unknown>};
  for (let n = 0; n < count; n++) {
    await write(n).client;
  }
  return {zero, write};
}

/** Every part takes long. */
function slowDown(): void {
  let now = performance.now();
  vi.spyOn(performance, 'now').mockImplementation(() => (now += 5));
}

test('what is written meanwhile does not show, and the page has turns', async () => {
  const {zero, write} = await holding(40);
  slowDown();
  let isMade = false;
  const made = zero.exportJSON().finally(() => (isMade = true));
  await nextTask();
  await write(40).client;
  let tasks = 0;
  for (; !isMade; tasks++) {
    await nextTask();
  }
  // Four writes are more than a part.
  expect(tasks).toBeGreaterThan(5);
  expect(names(await made)).toEqual(Array.from({length: 40}, (_, n) => `l${n}`));
  expect(names(await zero.exportJSON())).toHaveLength(41);
  await zero.close();
});

test('two that are asked for at once have the same text', async () => {
  const {zero} = await holding(20);
  slowDown();
  const [one, two] = await Promise.all([zero.exportJSON(), zero.exportJSON()]);
  expect(names(one)).toHaveLength(20);
  expect(two).toBe(one);
  await zero.close();
});

test('a client that is closed meanwhile gives nothing', async () => {
  const {zero} = await holding(40);
  slowDown();
  const made = zero.exportJSON();
  const refused = expect(made).rejects.toMatchObject({code: 'closed'});
  await nextTask();
  await zero.close();
  await refused;
  await expect(zero.exportJSON()).rejects.toMatchObject({code: 'closed'});
});
