// A deploy with another schema while writes wait in the store of the earlier one.
import { expect, test } from 'vitest';
import type { Page } from 'playwright-core';
import { modes } from './modes.ts';
import { nothingPending, Stage } from './stage.ts';
import { Chromium, until } from './world.ts';

// The page is handed the database of another schema a second after it was opened, when it asks for its rows; who drains it
// finds at once that nothing waits in it.
const readsEarlierLate = async (page: Page) => {
  await page.addInitScript(() => {
    const { open } = IDBFactory.prototype;
    const seen = new Set<string>();
    IDBFactory.prototype.open = function (name, version) {
      const request = open.call(this, name, version);
      const own = 'app' in window ? window.app.zero.idbName : undefined;
      if (name === own || seen.has(name)) return request;
      seen.add(name);
      Object.defineProperty(request, 'onsuccess', {
        set(listener: ((event: Event) => void) | null) {
          if (listener !== null) request.addEventListener('success', event => setTimeout(() => listener.call(request, event), 1000));
        },
      });
      return request;
    };
  });
};

const stage = new Stage(modes.embedded);

test('writes that waited in the store of an earlier schema arrive after a deploy, and the old store goes', async () => {
  const chromium = await new Chromium().start();
  try {
    const old = await stage.open(chromium, '&store=deploy');
    await old.waitForSelector('main[data-state=complete]', { state: 'attached' });
    await stage.mode.server.kill();
    await old.evaluate(async () => {
      const { zero, mutators } = window.app;
      for (const id of ['waited-1', 'waited-2']) {
        await zero.mutate(mutators.task.create({ id, title: id, rank: 1 })).durable;
      }
    });
    await old.close();
    await stage.mode.server.start();
    const next = await stage.open(chromium, '&store=deploy&next');
    await next.waitForSelector('#waited-2');
    await next.waitForSelector('main[data-state=complete]', { state: 'attached' });
    await nothingPending(next);
    expect((await stage.mode.tasks()).filter(task => task.id.startsWith('waited')).length).toBe(2);
    await until('the old store is gone', () => next.evaluate(async () => {
      const names = (await indexedDB.databases()).map(({ name }) => name ?? '');
      const own = window.app.zero.idbName;
      const same = own.slice(0, own.lastIndexOf(':'));
      return names.includes(own) && names.filter(name => name.startsWith(same)).length === 1;
    }));
  } finally {
    await chromium.close();
  }
});

test('they arrive also after the database has dropped what only the earlier schema names, and hold nobody up', async () => {
  const chromium = await new Chromium().start();
  try {
    const old = await stage.open(chromium, '&store=dropped');
    await old.waitForSelector('main[data-state=complete]', { state: 'attached' });
    await stage.mode.server.kill();
    await old.evaluate(async () => {
      const { zero, mutators } = window.app;
      await zero.mutate(mutators.task.create({ id: 'dropped', title: 'dropped', rank: 2 })).durable;
    });
    // The server still has on record what the page wanted.
    await old.close();
    await stage.mode.execute('ALTER TABLE task DROP COLUMN note');
    await stage.mode.server.start();
    const begun = Date.now();
    const next = await stage.open(chromium, '&store=dropped&next');
    await next.waitForSelector('main[data-state=complete]', { state: 'attached' });
    expect(Date.now() - begun).toBeLessThan(9_000);
    await nothingPending(next);
    expect((await stage.mode.tasks()).map(task => task.id)).toContain('dropped');
  } finally {
    await stage.mode.execute('ALTER TABLE task ADD COLUMN note TEXT');
    await chromium.close();
  }
});

test('after a deploy, without a server, the rows of the earlier store are shown, and again, until there are new ones', async () => {
  const chromium = await new Chromium().start();
  try {
    const old = await stage.open(chromium, '&store=kept');
    await old.evaluate(() => {
      const { zero, mutators } = window.app;
      return zero.mutate(mutators.task.create({ id: 'kept', title: 'kept', rank: 1 })).server;
    });
    await old.waitForSelector('#kept');
    await old.waitForSelector('main[data-state=complete]');
    await old.close();
    await stage.mode.server.kill();
    for (const _ of ['first', 'again']) {
      const next = await stage.open(chromium, '&store=kept&next', readsEarlierLate);
      await next.waitForSelector('#kept');
      expect(await next.locator('main').getAttribute('data-state')).toBe('unknown');
      await next.close();
    }
    await stage.mode.server.start();
    const next = await stage.open(chromium, '&store=kept&next');
    await next.waitForSelector('main[data-state=complete]');
    await next.waitForSelector('#kept');
  } finally {
    await chromium.close();
  }
});
