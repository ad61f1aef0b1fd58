// Tabs of one browser: opened and closed at random they agree, and what a dead or frozen one has stored is sent by another.
import { expect, test } from 'vitest';
import type { Page } from 'playwright-core';
import { modes } from './modes.ts';
import { Stage } from './stage.ts';
import { Chromium, until } from './world.ts';

const stage = new Stage(modes.embedded);

async function withChromium(run: (chromium: Chromium) => Promise<void>): Promise<void> {
  const chromium = await new Chromium().start();
  try {
    await run(chromium);
  } catch (error) {
    throw new Error(`the pages said: ${chromium.problems.join('; ')}`, { cause: error });
  } finally {
    await chromium.close();
  }
}

const open = (chromium: Chromium, store: string) => stage.open(chromium, `&store=${store}`);

/** Resolves when the write is stored. */
const write = (page: Page, id: string) => page.evaluate(async id => {
  const { zero, mutators } = window.app;
  const { type } = await zero.mutate(mutators.task.create({ id, title: id, rank: 1 })).durable;
  if (type !== 'success') throw new Error(`${id} was not stored`);
}, id);

/** What the page shows of the rows with this prefix, and how many of its writes wait. */
const state = (page: Page, prefix: string) => page.evaluate(prefix => ({
  shown: [...document.querySelectorAll('li')].map(({ id }) => id).filter(id => id.startsWith(prefix)).sort(),
  waiting: window.app.zero.pending.current.length,
}), prefix);

const arrived = async (prefix: string) =>
  (await stage.mode.tasks()).map(({ id }) => id).filter(id => id.startsWith(prefix)).sort();

/** Numbers that look random and are the same in each run. */
function dice(seed: number): (sides: number) => number {
  let state = seed;
  return sides => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor(state / 2 ** 32 * sides);
  };
}

test('ten tabs that are opened, closed and killed at random show the same in the end, and all their writes arrive', async () => {
  await withChromium(async chromium => {
    const roll = dice(Number(process.env.LANDFALL_SEED ?? 7));
    const tabs: Page[] = [];
    const durable: string[] = [];
    for (let n = 0; n < 3; n++) tabs.push(await open(chromium, 'ten'));
    for (let step = 0; step < 40; step++) {
      const tab = tabs[roll(tabs.length)]!;
      const what = roll(8);
      if (tabs.length < 10 && what < 3) {
        tabs.push(await open(chromium, 'ten'));
      } else if (tabs.length > 3 && what === 3) {
        tabs.splice(tabs.indexOf(tab), 1);
        await (roll(2) ? chromium.crash(tab) : tab.close());
      } else if (what === 4 && step < 30) {
        await stage.mode.server.kill();
        await stage.mode.server.start();
      } else {
        const id = `ten-${step}`;
        await write(tab, id);
        durable.push(id);
      }
    }
    while (tabs.length < 10) tabs.push(await open(chromium, 'ten'));
    durable.sort();
    await until('everything arrives', async () => (await arrived('ten-')).length === durable.length);
    expect(await arrived('ten-')).toEqual(durable);
    for (const tab of tabs) {
      await until('a tab shows it', async () => {
        const { shown, waiting } = await state(tab, 'ten-');
        return waiting === 0 && shown.length === durable.length;
      });
      expect((await state(tab, 'ten-')).shown).toEqual(durable);
    }
  });
}, 600_000);

// The first tab writes without a server and falls silent; the second one sends what it has stored.
const silences = {
  'crashes': (chromium: Chromium, page: Page) => chromium.crash(page),
  'is closed': (_: Chromium, page: Page) => page.close(),
  'is frozen': (chromium: Chromium, page: Page) => chromium.freeze(page),
} as const;

for (const [name, silence] of Object.entries(silences)) {
  test(`what a tab has stored is sent by another when it ${name}`, async () => {
    const store = name.replaceAll(' ', '-');
    await withChromium(async chromium => {
      const first = await open(chromium, store);
      await first.waitForSelector('main[data-state=complete]', { state: 'attached' });
      const second = await open(chromium, store);
      await second.waitForSelector('main[data-state=complete]', { state: 'attached' });
      await stage.mode.server.kill();
      await write(first, `${store}-1`);
      await write(first, `${store}-2`);
      // Also in the other tab, though there is no server.
      await second.waitForSelector(`#${store}-2`);
      await first.evaluate(() => { setInterval(() => performance.now(), 10); });
      const wake = await silence(chromium, first);
      await stage.mode.server.start();
      await until('the writes arrive', async () => (await arrived(store)).length === 2);
      await until('nothing waits', async () => (await state(second, store)).waiting === 0);
      if (!wake) return;
      await wake();
      await until('the first tab knows', async () => (await state(first, store)).waiting === 0);
      await write(first, `${store}-3`);
      await until('its next write arrives', async () => (await arrived(store)).length === 3);
      await second.waitForSelector(`#${store}-3`);
    });
  }, 300_000);
}

test('a page that closes its client holds its lock until storage has what it wrote', async () => {
  await withChromium(async chromium => {
    const [closing, other] = [await open(chromium, 'closing'), await open(chromium, 'closing')];
    const lock = await closing.evaluate(() => `${window.app.zero.idbName}/client/${window.app.zero.clientID}`);
    const isHeld = () => other.evaluate(async lock => {
      const { held = [] } = await navigator.locks.query();
      return held.some(({ name }) => name === lock);
    }, lock);
    await until('the lock is held', isHeld);
    // Holds storage up until it is told to let go.
    await other.evaluate(() => new Promise<void>((resolve, reject) => {
      const opening = indexedDB.open(window.app.zero.idbName);
      opening.onerror = () => reject(opening.error);
      opening.onsuccess = () => {
        const store = opening.result.transaction('queue', 'readwrite').objectStore('queue');
        const go = () => {
          if (document.title === 'let go') return opening.result.close();
          store.count().onsuccess = () => { resolve(); go(); };
        };
        go();
      };
    }));
    await closing.evaluate(async () => {
      const { zero, mutators } = window.app;
      await zero.mutate(mutators.task.create({ id: 'closing-1', title: 'last', rank: 1 })).client;
      void zero.close().then(() => { document.title = 'closed'; });
    });
    await new Promise(resolve => setTimeout(resolve, 300));
    expect(await isHeld()).toBe(true);
    await other.evaluate(() => { document.title = 'let go'; });
    await closing.waitForFunction(() => document.title === 'closed');
    await until('the lock is free', async () => !await isHeld());
    await other.waitForSelector('#closing-1', { state: 'attached' });
  });
});
