// What a page writes when it is left: it has no other turn then.
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Page } from 'playwright-core';
import { modes } from './modes.ts';
import { Stage } from './stage.ts';
import { Chromium, until } from './world.ts';

const stage = new Stage(modes.embedded);
let chromium: Chromium;
beforeEach(async () => { chromium = await new Chromium().start(); });
afterEach(() => chromium.close());

/** A page that will write so many tasks in one event of its end, each in so many milliseconds. */
async function writingAtItsEnd(event: 'pagehide' | 'visibilitychange', prefix: string, count: number, ms: number): Promise<Page> {
  const page = await stage.open(chromium);
  await page.waitForSelector('main[data-state=complete]', { state: 'attached' });
  // The first push of a connection waits for storage.
  await page.evaluate(id => window.app.zero.mutate(window.app.mutators.task.create({ id, title: id, rank: 1 })).server, `${prefix}before`);
  await page.evaluate(({ event, prefix, count, ms }) => {
    const { zero, mutators } = window.app;
    // A view that takes long to render.
    zero.materialize(window.app.zql.task).addListener(() => {
      for (const end = performance.now() + ms; performance.now() < end;);
    });
    const write = () => {
      for (let n = 0; n < count; n++) zero.mutate(mutators.task.create({ id: `${prefix}${n}`, title: 'the last words', rank: n }));
    };
    (event === 'pagehide' ? window : document).addEventListener(event, write, { once: true });
  }, { event, prefix, count, ms });
  return page;
}

const arrived = async (prefix: string) => (await stage.mode.tasks()).filter(({ id }) => id.startsWith(prefix)).length;

for (const event of ['pagehide', 'visibilitychange'] as const) {
  test(`what a page writes in ${event} arrives when it is reloaded, and is shown then`, async () => {
    const page = await writingAtItsEnd(event, `${event}-`, 8, 3);
    await page.reload();
    await page.waitForSelector(`#${event}-7`, { state: 'attached' });
    expect(await arrived(`${event}-`)).toBe(9);
  });
}

test('what a page writes in pagehide arrives when it is closed', async () => {
  const page = await writingAtItsEnd('pagehide', 'closed-', 8, 3);
  await page.close({ runBeforeUnload: true });
  await until('all of it arrives', async () => await arrived('closed-') === 9);
});
