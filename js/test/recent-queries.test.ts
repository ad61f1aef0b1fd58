/** What becomes of queries that lost their last user, and of those that take long. */
import {afterEach, beforeEach, expect, test, vi} from 'vitest';
import {createBuilder, Zero} from '../src/index.js';
import {Core, type CoreView, type ViewListener, type ViewRequest} from '../src/core/core.js';
import {asQueryInternals} from '../src/query/internals.js';
import {RecentQueries} from '../src/recent-queries.js';
import {schema, type TestSchema} from './schema.js';

const zql = createBuilder(schema);
const query = (title: string) => asQueryInternals(zql.issue.where('title', title));

test('the last queries are kept, the oldest ones go, and those that are used again are let go', () => {
  const kept = new Set<string>();
  const titleOf = new Map(['a', 'b', 'c'].map(title => [query(title).hash(), title]));
  const recent = new RecentQueries(2, it => {
    const title = titleOf.get(it.hash())!;
    expect(kept.has(title)).toBe(false);
    kept.add(title);
    return () => void kept.delete(title);
  });
  const check = (...titles: string[]) => expect([...kept].sort()).toEqual(titles);
  recent.add(query('a'));
  recent.add(query('b'));
  check('a', 'b');
  recent.add(query('a'));
  recent.add(query('c'));
  check('a', 'c');
  recent.used(query('a'));
  recent.used(query('b'));
  check('c');
});

/** The views that are open in the core: with rows, or preloads. */
class OpenViews {
  readonly open: {readonly shows: boolean; readonly table: string; readonly listener: ViewListener}[] = [];

  view({astJSON, shape}: ViewRequest, listener: ViewListener): CoreView {
    const view = {shows: shape !== undefined, table: (JSON.parse(astJSON) as {table: string}).table, listener};
    this.open.push(view);
    return {setTTL: () => {}, retry: () => {}, drop: () => void this.open.splice(this.open.indexOf(view), 1)};
  }

  get list(): string[] {
    return this.open.map(({shows, table}) => `${shows ? 'view' : 'preload'} of ${table}`);
  }
}

let views: OpenViews;
let zero: Zero<TestSchema, undefined, unknown> | undefined;
const lines: unknown[][] = [];

beforeEach(() => {
  views = new OpenViews();
  vi.spyOn(Core.prototype, 'openView').mockImplementation((request, listener) => views.view(request, listener));
});
afterEach(async () => {
  await zero?.close();
  lines.splice(0);
  vi.restoreAllMocks();
});

async function start(options: object): Promise<Zero<TestSchema, undefined, unknown>> {
  const started = new Zero<TestSchema, undefined, unknown>({
    schema, userID: 'u1', logSink: {log: (level, _context, ...args) => void lines.push([level, ...args])}, ...options,
  });
  zero = started;
  await started.ready;
  lines.splice(0);
  return started;
}

test('maxRecentQueries keeps what was shown or preloaded last, and nothing is kept otherwise', async () => {
  const client = await start({maxRecentQueries: 1});
  client.materialize(zql.issue).destroy();
  await vi.waitFor(() => expect(views.list).toEqual(['preload of issue']), {timeout: 60_000});
  const {cleanup} = client.preload(zql.user);
  expect(views.list).toEqual(['preload of issue', 'preload of user']);
  cleanup();
  cleanup();
  expect(views.list).toEqual(['preload of user']);
  const view = client.materialize(zql.user);
  expect(views.list).toEqual(['view of user']);
  view.destroy();
  await client.close();

  views = new OpenViews();
  const other = await start({});
  other.preload(zql.user).cleanup();
  other.materialize(zql.issue).destroy();
  await vi.waitFor(() => expect(views.list).toEqual([]), {timeout: 60_000});
});

test('a query that takes longer than the threshold is warned about, once', async () => {
  (await start({slowMaterializeThreshold: 0})).materialize(zql.issue);
  await new Promise(resolve => setTimeout(resolve, 5));
  const listener = views.open[0]!.listener;
  listener.publish([], 'unknown', undefined);
  listener.publish([], 'complete', undefined);
  listener.publish([], 'complete', undefined);
  await Promise.resolve();
  expect(lines).toEqual([['warn', expect.stringMatching(/^Slow query materialization \(including server\/network\): of table issue took \d+ ms\.$/)]]);
});

test('a query that is answered in time is not', async () => {
  (await start({})).materialize(zql.issue);
  views.open[0]?.listener.publish([], 'complete', undefined);
  await Promise.resolve();
  expect(lines).toEqual([]);
});
