/** How long runs of mutators that follow one another keep the page waiting. */
import {afterEach, beforeEach, expect, test, vi} from 'vitest';
import {RunChain} from '../src/run-chain.js';

const runMs = 3;
let now: number;
let turns: number;
beforeEach(() => {
  now = 0;
  turns = 0;
  vi.spyOn(performance, 'now').mockImplementation(() => now);
});
afterEach(() => void vi.restoreAllMocks());

/** Runs so many mutators, each of which is begun when the one before is settled; gives in which turn of the page each was. */
async function run(chain: RunChain, count: number, hasTurns = true): Promise<number[]> {
  const {port1, port2} = new MessageChannel();
  port1.onmessage = () => {
    turns++;
    port2.postMessage(undefined);
  };
  port2.postMessage(undefined);
  const settled: number[] = [];
  await new Promise<void>(resolve => {
    const begin = () => {
      if (settled.length === count) {
        return resolve();
      }
      chain.begins();
      queueMicrotask(() => {
        now += runMs;
        chain.ends(() => hasTurns, () => {
          settled.push(turns);
          begin();
        });
      });
    };
    begin();
  });
  port1.close();
  return settled;
}

test('the page has a turn in between', async () => {
  const settled = await run(new RunChain(), 20);
  // Four more runs take longer than ten milliseconds.
  const sizes = [...new Set(settled)].map(turn => settled.filter(it => it === turn).length);
  expect(Math.max(...sizes)).toBeLessThanOrEqual(5);
  expect(sizes.length).toBeGreaterThanOrEqual(4);
});

test('a page that may have no other turn is not given one', async () => {
  const settled = await run(new RunChain(), 20, false);
  expect(new Set(settled).size).toBe(1);
});

test('one run is settled at once, however much time has gone by', async () => {
  const chain = new RunChain();
  for (let i = 0; i < 5; i++) {
    now += 1000;
    chain.begins();
    now += 1000;
    const settle = vi.fn();
    chain.ends(() => true, settle);
    expect(settle).toHaveBeenCalledOnce();
  }
});
