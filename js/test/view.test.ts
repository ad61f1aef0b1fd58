/** What those are told who hold a view, over a core that says what the test wants. */
import {expect, test, vi} from 'vitest';
import type {Core, ViewListener} from '../src/core/core.js';
import {createBuilder, defineQueries, defineQuery} from '../src/index.js';
import {asQueryInternals} from '../src/query/internals.js';
import {HeldView, type ViewOwner, Views} from '../src/view.js';
import {schema} from './schema.js';

const zql = createBuilder(schema);
const queries = defineQueries({issues: defineQuery(() => zql.issue)});
const query = asQueryInternals(queries.issues.fn({args: undefined, ctx: undefined}));
const rows = [{id: 'a'}] as never;
const closed = {type: 'app', message: 'closed', details: {kind: 'ClientClosed'}} as const;

function start(type: 'named' | 'local' = 'named') {
  let core!: ViewListener;
  const owner: ViewOwner = {
    whenCore: use =>
      use({
        openView(_view: unknown, listener: ViewListener) {
          core = listener;
          return {drop() {}, setTTL() {}, retry() {}};
        },
      } as unknown as Core),
    sourceOf: () => (type === 'named' ? {type, name: 'issues', argsJSON: '[]'} : {type}),
    opened() {},
    dropping() {},
    failed() {},
    completed() {},
  };
  const views = new Views(owner);
  const view = new HeldView<unknown>(views, query, 0);
  const listener = vi.fn();
  view.addListener(listener);
  listener.mockClear();
  const show: ViewListener['publish'] = (...answer) => {
    core.publish(...answer);
    core.notify();
  };
  return {views, view, listener, show};
}

test('a listener is not told again of what it knows', () => {
  const {listener, show} = start();
  show(undefined, 'unknown', undefined);
  show([], 'unknown', undefined);
  expect(listener).not.toHaveBeenCalled();
  show(rows, 'unknown', undefined);
  expect(listener).toHaveBeenCalledExactlyOnceWith(rows, 'unknown', undefined);
});

test('a listener is told of the query that failed', () => {
  const {listener, show} = start();
  show(rows, 'error', {type: 'app', message: 'no', details: {code: 1}});
  const error = {error: 'app', id: query.hash(), name: 'issues', message: 'no', details: {code: 1}};
  expect(listener).toHaveBeenCalledExactlyOnceWith(rows, 'error', error);
});

test.each([
  ['named', 'complete', 0],
  ['local', 'unknown', 0],
  ['named', 'unknown', 1],
] as const)('a %s query whose answer is %s is told of the close by the application %i times', (type, status, times) => {
  const {views, listener, show} = start(type);
  show(rows, status, undefined);
  listener.mockClear();
  views.end(closed, false);
  expect(listener).toHaveBeenCalledTimes(times);
});

test.each(['unknown', 'complete'] as const)('an answer that is %s is an error when a fault ends the client', status => {
  const {views, listener, show} = start();
  show(rows, status, undefined);
  listener.mockClear();
  views.end(closed, true);
  expect(listener).toHaveBeenCalledExactlyOnceWith(rows, 'error', expect.objectContaining({message: 'closed'}));
});

test('a view that was destroyed keeps what it had', () => {
  const {view, listener, show} = start();
  show(rows, 'unknown', undefined);
  view.destroy();
  show([], 'unknown', undefined);
  expect(view.data).toBe(rows);
  expect(listener).toHaveBeenCalledTimes(1);
});
