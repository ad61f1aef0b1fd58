/** Rows through the real encoder, in Rust, and the decoder here: what goes in comes out. */
import {afterAll, describe, expect, test} from 'vitest';
import {createBuilder, defineMutators, defineMutatorWithType, Zero} from '../../src/index.js';
import type {ReadonlyJSONObject} from '../../src/json.js';
import {Memory} from '../../src/core/memory.js';
import {decodeRowBatch, type Row, type TableLayout} from '../../src/core/row-batch.js';
import {schema, type TestSchema} from '../schema.js';

const zql = createBuilder(schema);
const mutators = defineMutators({
  fill: defineMutatorWithType<TestSchema>()(async ({tx, args}: {tx: any; args: readonly ReadonlyJSONObject[]}) => {
    for (const row of args) {
      await tx.mutate.issue.insert(row);
    }
  }),
});
const open: Zero<any, any, any>[] = [];
afterAll(() => Promise.all(open.map(zero => zero.close())));

type Issue = {[column: string]: unknown; id: string};

async function through(rows: readonly Issue[]): Promise<unknown> {
  const zero = new Zero<TestSchema, any, unknown>({schema, mutators, userID: 'u', logLevel: 'error', kvStore: 'mem'} as never);
  open.push(zero);
  expect(await zero.mutate(mutators.fill(rows as never) as never).client).toEqual({type: 'success'});
  return zero.run(zql.issue.orderBy('id', 'asc'));
}

function issue(id: number, more: object = {}): Issue {
  const key = String(id).padStart(6, '0');
  return {
    id: key, title: '', open: false, kind: 'bug', rank: null, meta: null, tags: [], ownerID: null, created: 0, ...more,
  };
}

describe('rows come out as they went in', () => {
  test.each<[string, Issue[]]>([
    ['one row with nothing but nulls where they may be', [issue(0)]],
    ['numbers', [0, -0.5, 1e300, -1e-300, 2 ** 53, 1700000000123.456].map((created, i) => issue(i, {created, rank: i}))],
    ['booleans beyond one word of bits', Array.from({length: 70}, (_, i) => issue(i, {open: i % 3 === 0}))],
    ['nulls among values', Array.from({length: 70}, (_, i) => issue(i, i % 5 === 0 ? {} : {rank: i, ownerID: `u${i}`}))],
    ['strings that repeat, with a null', Array.from({length: 100}, (_, i) =>
      issue(i, {ownerID: i === 50 ? null : ['ann', 'böb', ''][i % 3]}))],
    ['text outside of ASCII and outside of the basic plane',
      ['', 'é', '日本語', '😀', 'a😀b', '\u0000', '\ufeff', '👩‍👩‍👧', '"\\\n'].map((title, i) => issue(i, {title}))],
    ['JSON of every kind', [1, 'x', '', true, false, null, [], {}, [1, [2, {a: null}]], {ü: '😀'}].map((meta, i) => issue(i, {meta}))],
    ['long text of one byte a character, decoded in pieces',
      Array.from({length: 500}, (_, i) => issue(i, {title: `${i}`.repeat(i), ownerID: i % 2 ? null : `owner of ${i}`}))],
    ['long text of one byte a character beside text that is not', Array.from({length: 500}, (_, i) =>
      issue(i, {title: 'plain '.repeat(i % 40), ownerID: `ö${i}`.repeat(i % 30)}))],
    ['whole numbers beside others', [0, 1, -1, 2 ** 31 - 1, -(2 ** 31)].map((rank, i) => issue(i, {rank, created: rank * 2}))],
    ['long text with U+0000 in it, decoded in pieces',
      Array.from({length: 500}, (_, i) => issue(i, {title: `"${i}"\\\u0000`.repeat(i), ownerID: i % 2 ? null : `ö${i}`}))],
    ['strings as long as a piece', [32_766, 32_767, 32_768, 32_769].map((length, i) => issue(i, {title: 'x'.repeat(length)}))],
    ['long text between short', ['short', 'x'.repeat(100_000), '日'.repeat(30_000), 'short'].map((title, i) => issue(i, {title}))],
  ])('%s', async (_, rows) => {
    expect(await through(rows)).toEqual(rows);
  });

  test('random rows', async () => {
    const random = seeded(Number(process.env['LANDFALL_TEST_SEED'] ?? 11));
    const pick = <T>(values: readonly T[]): T => values[random(values.length)]!;
    const texts = ['', 'a', 'ä', '日本', '😀😀', 'hello world, a little longer'];
    for (let round = 0; round < 10; round++) {
      const rows = Array.from({length: random(200)}, (_, i) =>
        issue(i, {
          title: pick(texts) + (random(3) === 0 ? i : ''),
          open: random(2) === 0,
          rank: pick([null, 0, i, i / 7]),
          meta: pick([null, {tags: texts}, [i], 'text']),
          tags: pick([[], ['a'], texts]),
          ownerID: pick([null, 'u1', 'u2']),
          created: random(1000),
        }),
      );
      expect(await through(rows)).toEqual(rows);
    }
  });
});

test('values of JSON are frozen all the way down', async () => {
  const [row] = (await through([issue(0, {meta: {a: [{b: 1}]}})])) as any[];
  expect(Object.isFrozen(row.meta.a[0])).toBe(true);
});

describe('bytes that do not fit', () => {
  const layout: TableLayout[] = [{name: 't', columns: [{name: 'id', type: 'string'}], primaryKey: ['id']}];
  // One table block with one row of one column.
  const batch = (table: number, columns: number, kind: number) => [1, 0, 0, 0, table, 1, columns, 0, 5, kind, 0, 0];
  const decode = (words: number[], rows: Row[] = [], address = 0) => {
    const memory = new Memory({buffer: new Uint32Array([...Array(address / 4).fill(0), ...words]).buffer});
    decodeRowBatch(layout, memory, {words: address, wordCount: words.length, text: 0, textLength: 0}, rows);
    return rows;
  };

  test('an empty batch has no rows', () => {
    expect(decode([])).toEqual([]);
  });

  test('what fits is decoded, wherever it lies', () => {
    expect(decode(batch(0, 1, 0), [], 16)).toEqual([...Array(5).fill(undefined), {id: null}]);
  });

  test.each([
    ['an unknown table', batch(3, 1, 0)],
    ['another number of columns', batch(0, 2, 0)],
    ['an unknown kind of column', batch(0, 1, 9)],
    ['an end in the header', [1, 0]],
    ['an end in the middle', batch(0, 1, 6).slice(0, 9)],
    ['more pieces of text than words', [1, 99, ...batch(0, 1, 0).slice(2)]],
    ['fewer strings than are named', batch(0, 1, 3)],
    ['an end in the middle of a column', batch(0, 1, 6).slice(0, 11)],
  ])('%s', (_, words) => {
    expect(() => decode(words)).toThrow(RangeError);
  });

  test('an odd address', () => {
    expect(() => decode(batch(0, 1, 0), [], 4)).toThrow(RangeError);
  });
});

function seeded(seed: number): (below: number) => number {
  let state = seed;
  return below => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}
