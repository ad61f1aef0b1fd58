// A browser that is killed while three tabs write, with Postgres behind it.
import { expect, test } from 'vitest';
import { modes } from './modes.ts';
import { nothingPending, Stage } from './stage.ts';
import { Chromium, until } from './world.ts';

// By hand: LANDFALL_KILL_ROUNDS=20 LANDFALL_KILL_WRITES=1000.
const rounds = Number(process.env.LANDFALL_KILL_ROUNDS ?? 2);
const writes = Number(process.env.LANDFALL_KILL_WRITES ?? 90);

const stage = new Stage(modes.postgres);

test('what reported durable is at the source once and in order, however often the browser is killed', async () => {
  const chromium = await new Chromium().start();
  const durable = new Set<string>();
  try {
    for (let round = 0; round < rounds; round++) {
      const tabs = await Promise.all([0, 1, 2].map(async tab => {
        const page = await stage.open(chromium);
        await page.exposeFunction('isDurable', (id: string) => { durable.add(id); });
        return { page, prefix: `r${round}t${tab}-` };
      }));
      const before = durable.size;
      for (const { page, prefix } of tabs) {
        const writing = page.evaluate(async ({ prefix, count }) => {
          const { zero, mutators } = window.app;
          const { isDurable } = window as unknown as { isDurable(id: string): void };
          for (let n = 0; n < count; n++) {
            const id = `${prefix}${n}`;
            const result = zero.mutate(mutators.task.create({ id, title: id, rank: n }));
            void result.durable.then(({ type }) => type === 'success' && isDurable(id));
            // Some wait for storage at any time.
            if (n % 8 === 7) await result.durable;
          }
        }, { prefix, count: Math.ceil(writes / 3) });
        // The kill ends it.
        writing.catch(error => { if (!/closed|crashed/i.test(String(error))) chromium.problems.push(String(error)); });
      }
      await until('some writes are durable', () => durable.size >= before + 10);
      // The kill may come at any moment of the writing.
      const [enough, end] = [before + Math.random() * writes, Date.now() + Math.random() * writes * 10];
      await until('it is time', () => durable.size >= enough || Date.now() > end);
      await chromium.kill();
      await chromium.start();
    }
    const page = await stage.open(chromium);
    await page.waitForSelector('main[data-state=complete]');
    await nothingPending(page);
    // A second run of a write would have failed, since its row is there.
    expect(await page.evaluate(() => window.app.zero.pending.current)).toEqual([]);
    // In the order in which Postgres carried them out.
    const arrived = (await stage.mode.rows('SELECT id FROM task ORDER BY xmin::text::bigint, ctid')).map(({ id }) => String(id));
    const there = new Set(arrived);
    expect([...durable].filter(id => !there.has(id))).toEqual([]);
    // Of each tab the first so many, one after the other.
    const byTab = new Map<string, number[]>();
    for (const id of arrived) {
      const [tab = '', n] = id.split('-');
      byTab.set(tab, [...(byTab.get(tab) ?? []), Number(n)]);
    }
    for (const [tab, numbers] of byTab) {
      expect([tab, numbers]).toEqual([tab, numbers.map((_, place) => place)]);
    }
    console.log(`${rounds} rounds: ${durable.size} writes reported durable, ${arrived.length} arrived`);
    expect(durable.size).toBeGreaterThanOrEqual(rounds * 10);
  } catch (error) {
    throw new Error(`with ${durable.size} durable writes; ${chromium.problems.join('; ')}`, { cause: error });
  } finally {
    await chromium.close();
  }
}, 1_800_000);
