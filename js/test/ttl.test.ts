import {expect, test} from 'vitest';
import {MAX_TTL_MS, parseTTL, type TTL, unclampedTTL} from '../src/query/ttl.js';

const cases: [TTL, number][] = [
  ['none', 0],
  [0, 0],
  [Number.NaN, 0],
  [1500, 1500],
  ['30s', 30_000],
  ['1.5m', 90_000],
  ['2h', 7_200_000],
  ['1d', 86_400_000],
  ['1y', 31_536_000_000],
  ['forever', Number.POSITIVE_INFINITY],
  [-1, Number.POSITIVE_INFINITY],
  ['-5s', Number.POSITIVE_INFINITY],
];

test.each(cases)('%s is %d ms', (ttl, ms) => {
  expect(unclampedTTL(ttl)).toBe(ms);
  expect(parseTTL(ttl)).toBe(Math.min(ms, MAX_TTL_MS));
});

test.each(['', '5', 's', '5 s', '5min'])('"%s" is no TTL', text => {
  expect(() => parseTTL(text as TTL)).toThrow(`Invalid TTL: ${text}`);
});
