// The page never freezes: many local rows on a CPU that is slowed down four times, watched by the browser itself.
// By hand, with a release build of the server:
//   LANDFALL_LONG_TASK_ROWS=180000 LANDFALL_SERVER_BINARY=… npx vitest run long-tasks
// LANDFALL_LONG_TASK_WRITES is how many writes wait for the server (100).
// The browser's observer counts the time of other processes as the page's: that way needs a quiet machine. More is told by
//   LANDFALL_LONG_TASK_CLOCK=traced   the observer, and a trace of what each long task was made of, which takes time itself
//   LANDFALL_LONG_TASK_CLOCK=cpu      the trace alone: the time of the processor in each task, multiplied; for a busy machine
//   LANDFALL_LONG_TASK_CLOCK=stacks   the same, with the functions that the task was in
// The page has nothing in it but Landfall, so what is long is ours.
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import type { TypedView } from 'landfall';
import type { Page } from 'playwright-core';
import { type Mode, modes } from './modes.ts';
import { MARK, type Task, TaskRecording } from './task-recording.ts';
import { Chromium, serveFolder, until } from './world.ts';

// Few rows take no time: what is done with them is all that is looked at.
const byHand = process.env.LANDFALL_LONG_TASK_ROWS !== undefined;
const rows = Number(process.env.LANDFALL_LONG_TASK_ROWS ?? 5_000);
const writes = Number(process.env.LANDFALL_LONG_TASK_WRITES ?? 100);
const limit = Number(process.env.LANDFALL_LONG_TASK_MS ?? 50);
const slowdown = Number(process.env.LANDFALL_SLOWDOWN ?? 4);
const clock = process.env.LANDFALL_LONG_TASK_CLOCK;
const byProcessor = clock === 'cpu' || clock === 'stacks';
const traced = byProcessor || clock === 'traced';

let site: Awaited<ReturnType<typeof serveFolder>>;
let mode: Mode;
let chromium: Chromium;

beforeAll(async () => {
  site = await serveFolder(inject('page'));
  mode = await modes.embedded(({ execute }) => execute(`
    ALTER TABLE task ADD COLUMN due TEXT;
    WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 199)
    INSERT INTO country SELECT 'c' || i, 'country ' || i FROM n;
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${rows})
    INSERT INTO city SELECT i, 'city ' || ((i * 7919) % 1000003), 'c' || (i % 200), (i * 104729) % 5000000, i % 90, i % 180 FROM n;`));
  chromium = await new Chromium().start();
  // A browser that has just been started is busy with itself.
  if (byHand) await new Promise(resolve => setTimeout(resolve, 3_000));
}, 30_000);
afterAll(async () => {
  await chromium?.close();
  await mode?.close();
  await site?.close();
});

declare global {
  interface Window { longTasks: number[] }
}

type LongTask = Pick<Task, 'ms' | 'parts'>;
let found: Record<string, { ms: number; long: LongTask[] }> = {};

/** A page with its first rows, if any are asked for; what was long until then is noted under this name. */
function open(name: string, firstRows?: () => unknown, more = ''): Promise<Page> {
  return watched(name, async () => {
    const page = await chromium.page(`${site.url}/bare.html?cache=${encodeURIComponent(mode.server.url)}${more}`, async page => {
      const session = await chromium.devtools(page);
      await session.send('Emulation.setCPUThrottlingRate', { rate: byProcessor ? 1 : slowdown });
      await page.addInitScript(mark => {
        performance.mark(mark);
        window.longTasks = [];
        new PerformanceObserver(list => window.longTasks.push(...list.getEntries().map(({ duration }) => duration)))
          .observe({ type: 'longtask' });
      }, MARK);
    });
    await until('the page has run its scripts', () => run(page, () => 'bare' in window));
    if (firstRows) await run(page, firstRows);
    return page;
  }, page => page);
}

/** Runs a function in the page as it stands; Playwright's way would run scripts of its own first, which take long. */
async function run<T, A>(page: Page, act: (given: A) => T, given?: A): Promise<Awaited<T>> {
  const session = await chromium.devtools(page);
  const expression = `(${act})(${JSON.stringify(given)})`;
  const { result, exceptionDetails } = await session.send('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true });
  if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
  await session.detach();
  return result.value as Awaited<T>;
}

/** Notes the long tasks of the page that `act` opens or uses, and what they did. */
async function watched<T>(name: string, act: () => Promise<T>, pageOf: (result: T) => Page): Promise<T> {
  const recording = traced ? await TaskRecording.start(await chromium.browserDevtools(), clock === 'stacks') : undefined;
  const start = Date.now();
  const result = await act();
  const ms = Date.now() - start;
  const page = pageOf(result);
  // The observer is told a moment later.
  await run(page, () => new Promise(resolve => setTimeout(resolve, 200)));
  const observed = await run(page, () => window.longTasks.splice(0));
  const tasks = (await recording?.stop(page)) ?? [];
  const long = byProcessor ? tasks.map(slowed) : observed.map(ms => nearest(tasks, ms));
  found[name] = { ms, long: long.filter(({ ms }) => ms >= limit) };
  return result;
}

const slowed = ({ processorMs, parts }: Task): LongTask => ({ ms: processorMs * slowdown, parts });

/** What the trace knows of the task that the observer calls long: clocks may differ, so it is found by its length. */
function nearest(tasks: readonly Task[], ms: number): LongTask {
  const away = (task: Task) => Math.abs(task.ms - ms);
  const task = tasks.reduce<Task | undefined>((best, task) => (best === undefined || away(task) < away(best) ? task : best), undefined);
  if (task === undefined || away(task) > 5) return { ms, parts: traced ? ['nothing like it in the trace'] : [] };
  return { ms, parts: [`${task.processorMs.toFixed(1)} ms of the processor`, ...task.parts] };
}

const told = ({ ms, parts }: LongTask) =>
  `\n  a task of ${Math.round(ms)} ms${parts.map(part => `\n    ${part}`).join('')}`;

/** The tasks that were long, by what was done, which is told as well. */
function tell(): Record<string, readonly number[]> {
  console.log(Object.entries(found).map(([name, { ms, long }]) => `${name}: ${ms} ms${long.map(told).join('')}`).join('\n'));
  const long = Object.entries(found).filter(([, { long }]) => byHand && long.length > 0);
  found = {};
  return Object.fromEntries(long.map(([name, { long }]) => [name, long.map(({ ms }) => ms)]));
}

/** Fills a list as a page does: the newest of a snapshot and a later change. */
const firstRows = () => new Promise<number>(resolve => {
  const { zero, zql } = window.bare;
  const view = zero.materialize(zql.city.orderBy('population', 'desc').related('country').limit(50));
  view.addListener(data => {
    if (data.length === 50) resolve(performance.now());
  });
});

/** Whether the page's database holds the rows: its head says what is there (FORMAT.md), pages alone may not count yet. */
const isStored = (rows: number) => new Promise<boolean>((resolve, reject) => {
  const opened = indexedDB.open(window.bare.zero.idbName);
  opened.onerror = () => reject(opened.error);
  opened.onsuccess = () => {
    const database = opened.result;
    const read = database.transaction('head').objectStore('head').get(new TextEncoder().encode('head'));
    read.onerror = () => reject(read.error);
    read.onsuccess = () => {
      database.close();
      if (read.result === undefined) return resolve(false);
      const head = new DataView(new Uint8Array(read.result).buffer);
      let at = 2;
      const u32 = () => { at += 4; return head.getUint32(at - 4, true); };
      const skipText = () => { const length = u32(); at += length; };
      skipText();
      at += 1;
      if (head.getUint8(at - 1) === 0) return resolve(false);
      skipText();
      for (let left = u32(); left > 0; left--) {
        skipText();
        at += 8;
      }
      const logBytes = head.getBigUint64(at + 16, true);
      const pages = head.getUint32(at + 32, true);
      resolve(pages > 0 || logBytes > 20 * rows);
    };
  };
});

test.skipIf(!byHand)('no task is long: first poke, storing, queries, rebase, cold start', async () => {
  let page = await open('opening');
  await watched('first poke', () => run(page, async () => {
    const { zero, cities } = window.bare;
    await zero.preload(cities()).complete;
  }), () => page);
  await watched('storing', () => page.waitForTimeout(8_000), () => page);
  await watched('six queries', () => run(page, async () => {
    const { zero, zql } = window.bare;
    const filled = <T>(view: TypedView<T>) => new Promise<void>(resolve => {
      view.addListener(data => {
        if ((data as unknown[]).length > 0) resolve();
      });
    });
    await Promise.all([
      filled(zero.materialize(zql.city.orderBy('population', 'desc').related('country').limit(50))),
      filled(zero.materialize(zql.city.where('name', 'LIKE', 'city 9%').orderBy('name', 'asc').limit(100))),
      filled(zero.materialize(zql.city.where('countryCode', 'c7').orderBy('name', 'asc').related('country'))),
      filled(zero.materialize(zql.country.orderBy('name', 'asc')
        .related('cities', cities => cities.orderBy('population', 'desc').limit(10)))),
      filled(zero.materialize(zql.city.where('population', '>', 4_900_000).orderBy('lat', 'asc'))),
      filled(zero.materialize(zql.city.whereExists('country', country => country.where('name', 'LIKE', '%11'))
        .orderBy('lon', 'asc').limit(200))),
    ]);
  }), () => page);
  await mode.server.kill();
  await watched(`${writes} writes`, () => run(page, async writes => {
    const { zero, create } = window.bare;
    for (let n = 0; n < writes; n++) {
      await zero.mutate(create({ id: `w${n}`, title: `write ${n}`, rank: n })).client;
      // Each in a task of its own, as by a user.
      await new Promise(resolve => setTimeout(resolve));
    }
  }, writes), () => page);
  await mode.server.start();
  await watched('rebase', () => run(page, async () => {
    while (window.bare.zero.pending.current.length > 0) await new Promise(resolve => setTimeout(resolve, 100));
  }), () => page);
  await page.close();
  page = await open('cold start', firstRows);
  await page.close();
  expect(tell()).toEqual({});
}, 1_200_000);

test('no task is long after a deploy: rows of the earlier store, those of the server in their place', async () => {
  let page = await open('opening');
  await run(page, async () => {
    const { zero, cities } = window.bare;
    await zero.preload(cities()).complete;
  });
  await until('the rows are stored', () => run(page, isStored, rows));
  await page.close();
  await mode.server.kill();
  page = await open('after a deploy, offline', firstRows, '&next');
  await page.close();
  await mode.server.start();
  page = await open('after a deploy', firstRows, '&next');
  await watched('first pokes after a deploy', () => run(page, async () => {
    const { zero, cities } = window.bare;
    await zero.preload(cities()).complete;
  }), () => page);
  await watched('storing, dropping the earlier store', async () => {
    await until('the rows are stored', () => run(page, isStored, rows));
    await until('the earlier store is gone', () => run(page, async () => {
      const { zero } = window.bare;
      const names = (await indexedDB.databases()).map(({ name }) => name);
      return names.length === 1 && names[0] === zero.idbName;
    }));
  }, () => page);
  await page.close();
  expect(tell()).toEqual({});
}, 1_200_000);
