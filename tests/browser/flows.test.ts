// What a user is promised, in a real Chromium, with Postgres behind it and again in embedded mode.
import { afterAll, afterEach, beforeAll, describe, expect, inject, test } from 'vitest';
import type { Page } from 'playwright-core';
import { type Mode, modes } from './modes.ts';
import { Chromium, serveFolder, until } from './world.ts';

let site: Awaited<ReturnType<typeof serveFolder>>;
beforeAll(async () => { site = await serveFolder(inject('page')); });
afterAll(() => site.close());

const titles = (page: Page) => page.locator('li').allTextContents();

describe.each(Object.entries(modes))('%s', (_name, start) => {
  let mode: Mode;
  const browsers: Chromium[] = [];

  beforeAll(async () => {
    mode = await start();
    await mode.execute(`INSERT INTO task (id, title, done, rank) VALUES ('a', 'alpha', ${_name === 'postgres' ? 'false' : 0}, 1)`);
  });
  afterAll(() => mode?.close());
  afterEach(async () => {
    for (const browser of browsers.splice(0)) await browser.close();
    await mode.server.stop();
    await mode.server.start();
  });

  async function browser(): Promise<Chromium> {
    const chromium = await new Chromium().start();
    browsers.push(chromium);
    return chromium;
  }
  const open = async (chromium: Chromium) => {
    const page = await chromium.page(`${site.url}/?cache=${encodeURIComponent(mode.server.url)}`);
    await page.waitForFunction(() => 'app' in window);
    return page;
  };
  const complete = (page: Page) => page.waitForSelector('main[data-state=complete]');
  const sqlTrue = _name === 'postgres' ? 'true' : '1';

  test('a row that SQL inserts appears in an open page', async () => {
    const page = await open(await browser());
    await complete(page);
    expect(await titles(page)).toContain('alpha');
    await mode.execute(`INSERT INTO task (id, title, done, rank) VALUES ('b', 'from SQL', ${sqlTrue}, 2)`);
    await page.waitForSelector('#b');
    await mode.execute(`UPDATE task SET title = 'changed by SQL' WHERE id = 'b'`);
    await until('the change arrives', async () => (await titles(page)).includes('changed by SQL'));
    await mode.execute(`DELETE FROM task WHERE id = 'b'`);
    await page.waitForSelector('#b', { state: 'detached' });
  });

  test('an optimistic edit is visible in the same frame and then at the source', async () => {
    const page = await open(await browser());
    await complete(page);
    const seen = await page.evaluate(() => new Promise<{ frames: number; text: string | null | undefined }>(resolve => {
      const { zero, mutators } = window.app;
      let frames = 0;
      const count = () => { frames += 1; requestAnimationFrame(count); };
      requestAnimationFrame(count);
      requestAnimationFrame(() => {
        const before = frames;
        const element = document.getElementById('a')!;
        const observer = new MutationObserver(() => {
          observer.disconnect();
          resolve({ frames: frames - before, text: element.textContent });
        });
        observer.observe(element, { characterData: true, childList: true, subtree: true });
        zero.mutate(mutators.task.rename({ id: 'a', title: 'renamed at once' }));
      });
    }));
    expect(seen.text).toBe('renamed at once');
    // Counted from inside a frame callback: 0 or 1 more callback may have run, but no frame was painted without the edit.
    expect(seen.frames).toBeLessThanOrEqual(1);
    await until('the edit is at the source', async () => (await mode.tasks()).some(task => task.title === 'renamed at once'));
  });

  test('the inspector tells what the server knows, to whoever has the password', async () => {
    const page = await open(await browser());
    await complete(page);
    const told = await page.evaluate(async () => {
      const { zero, zql } = window.app;
      const { inspector } = zero;
      const wrong = await inspector.authenticate('sesam');
      globalThis.prompt = () => 'sesame';
      const version = await inspector.serverVersion();
      const all = await inspector.client.queries();
      const tasks = all.find(query => query.serverZQL?.startsWith('task'));
      const analysis = await inspector.analyzeQuery(zql.task.where('id', 'a'), { syncedRows: true }).catch(String);
      const own = (await inspector.clients()).map(({ id }) => id);
      const rows = await inspector.client.rows('task');
      const group = await inspector.clientGroup.id;
      return {
        wrong, version, tasks, analysis, own: own.includes(zero.clientID), rows: rows.map(({ id }) => id),
        group: group === await zero.clientGroupID,
      };
    });
    expect(told).toMatchObject({ wrong: false, version: expect.stringMatching(/^\d/), own: true, group: true });
    expect(told.rows).toContain('a');
    expect(told.tasks).toMatchObject({ got: true, deleted: false, clientZQL: "task.orderBy('rank', 'asc')" });
    expect(told.tasks!.rowCount).toBeGreaterThan(0);
    if (_name === 'embedded') {
      expect(told.analysis).toMatchObject({ syncedRowCount: 1, syncedRows: { task: [{ id: 'a' }] } });
    } else {
      // Without declared permissions nobody reads by a query of their own, an inspector neither.
      expect(JSON.stringify(told.analysis)).not.toContain('alpha');
    }
  });

  test('two browsers converge', async () => {
    const [one, two] = [await open(await browser()), await open(await browser())];
    await complete(one);
    await complete(two);
    const write = (page: Page, prefix: string) => page.evaluate(async prefix => {
      const { zero, mutators } = window.app;
      const results = Array.from({ length: 20 }, (_, index) =>
        zero.mutate(mutators.task.create({ id: `${prefix}${index}`, title: `${prefix}${index}`, rank: 10 + index })));
      const contested = zero.mutate(mutators.task.rename({ id: 'a', title: `by ${prefix}` }));
      return Promise.all([...results, contested].map(result => result.server.then(({ type }) => type)));
    }, prefix);
    const outcomes = await Promise.all([write(one, 'x'), write(two, 'y')]);
    expect(new Set(outcomes.flat())).toEqual(new Set(['success']));
    const source = (await mode.tasks()).map(task => task.title).sort();
    expect(source.filter(title => /^[xy]\d/.test(title))).toHaveLength(40);
    for (const page of [one, two]) {
      await until('the page shows what the source holds', async () =>
        JSON.stringify((await titles(page)).sort()) === JSON.stringify(source));
    }
  });

  test('a rejected mutation is rolled back with its reason', async () => {
    const page = await open(await browser());
    await complete(page);
    const result = await page.evaluate(async () => {
      const { zero, mutators } = window.app;
      const mutation = zero.mutate(mutators.task.create({ id: 'bad', title: 'forbidden', rank: 5 }));
      const client = await mutation.client;
      const shown = document.getElementById('bad') !== null;
      return { client: client.type, shown, server: await mutation.server };
    });
    expect(result.client).toBe('success');
    expect(result.server).toMatchObject({ type: 'error', error: { type: 'app' } });
    expect(JSON.stringify(result.server)).toMatch(/forbidden|not allowed/);
    await page.waitForSelector('#bad', { state: 'detached' });
    expect((await mode.tasks()).map(task => task.id)).not.toContain('bad');
    // The queue goes on behind it.
    const next = await page.evaluate(() => {
      const { zero, mutators } = window.app;
      return zero.mutate(mutators.task.create({ id: 'good', title: 'good', rank: 6 })).server;
    });
    expect(next.type).toBe('success');
  });

  test('a mutator that throws in the page changes nothing and consumes nothing', async () => {
    const page = await open(await browser());
    await complete(page);
    const results = await page.evaluate(async () => {
      const { zero, mutators } = window.app;
      const refused = zero.mutate(mutators.task.refuse({ id: 'a' }));
      const after = zero.mutate(mutators.task.create({ id: 'after', title: 'after', rank: 7 }));
      return { refused: [await refused.client, await refused.server], after: await after.server };
    });
    for (const outcome of results.refused) expect(outcome).toMatchObject({ type: 'error', error: { message: 'refused a' } });
    expect(results.after.type).toBe('success');
  });

  test('a page killed with 100 unsent writes loses none and repeats none', async () => {
    const chromium = await browser();
    const first = await open(chromium);
    await complete(first);
    await mode.server.kill();
    await until('the page notices', async () => await first.locator('main[data-connection=connected]').count() === 0);
    await first.evaluate(async () => {
      const { zero, mutators } = window.app;
      const writes = Array.from({ length: 100 }, (_, index) =>
        zero.mutate(mutators.counter.add({ id: 'killed', entry: `entry-${String(index).padStart(3, '0')}` })));
      await Promise.all(writes.map(write => write.durable));
    });
    await chromium.kill();
    await chromium.start();
    const second = await open(chromium);
    await until('data and pending writes are there without the server', async () =>
      (await titles(second)).filter(title => title.startsWith('entry ')).length === 100);
    expect(await mode.counter('killed').catch(() => 0)).toBe(0);
    await mode.server.start();
    await until('all writes arrived', async () =>
      (await mode.tasks()).filter(task => task.id.startsWith('entry-')).length === 100);
    expect(await mode.counter('killed')).toBe(100);
    // Nothing is sent again by a third opening.
    await second.reload();
    await complete(second);
    await second.evaluate(async () => {
      const { zero, mutators, queries } = window.app;
      await zero.run(queries.counters(), { type: 'complete' });
      await zero.mutate(mutators.counter.add({ id: 'killed', entry: 'entry-last' })).server;
    });
    expect(await mode.counter('killed')).toBe(101);
  });

  test('reads and writes go on while the server is away, and are sent once, in order', async () => {
    const page = await open(await browser());
    await complete(page);
    await mode.server.stop();
    await page.evaluate(async () => {
      const { zero, mutators } = window.app;
      await zero.mutate(mutators.task.create({ id: 'off', title: 'written offline', rank: 8 })).client;
      await zero.mutate(mutators.task.rename({ id: 'off', title: 'renamed offline' })).durable;
    });
    expect(await titles(page)).toContain('renamed offline');
    await mode.server.start();
    await until('both writes arrived', async () => (await mode.tasks()).some(task => task.title === 'renamed offline'));
    await until('the page is connected again', async () => await page.locator('main[data-connection=connected]').count() === 1);
  });
});
