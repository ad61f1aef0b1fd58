// A line over which little goes up at a time. Of what the page has sent the system holds some 4 MB back: of these the page
// learns nothing.
import { expect, inject, test } from 'vitest';
import { modes } from './modes.ts';
import { Chromium, serveFolder, slowUplink } from './world.ts';

test('a large write gets through although nothing comes back for longer than a pong is waited for', async () => {
  const mode = await modes.embedded();
  const site = await serveFolder(inject('page'));
  const line = await slowUplink(mode.server.port, 1_000_000);
  const chromium = await new Chromium().start();
  try {
    const page = await chromium.page(`${site.url}/?ping=4000&cache=${encodeURIComponent(line.url)}`);
    await page.waitForSelector('main[data-state=complete]', { state: 'attached' });
    const before = line.connections();
    const outcome = await page.evaluate(async () => {
      const { zero, mutators } = window.app;
      const title = 'x'.repeat(9 << 20);
      const arrived = zero.mutate(mutators.task.create({ id: 'large', title, rank: 1 })).server;
      return Promise.race([arrived.then(({ type }) => type), new Promise(resolve => setTimeout(resolve, 60_000, 'not yet'))]);
    });
    expect(outcome).toBe('success');
    expect(await mode.rows('SELECT length(title) AS length FROM task')).toEqual([{ length: 9 << 20 }]);
    expect(line.connections()).toBe(before);
  } finally {
    await chromium.close();
    await line.close();
    await site.close();
    await mode.close();
  }
});
