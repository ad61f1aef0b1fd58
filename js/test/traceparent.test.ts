/** What a server is told of the trace that the application is in: the real module, over a socket of the test's own. */
import {afterEach, expect, test, vi} from 'vitest';
import {createBuilder, defineQueries, defineQueryWithType, Zero} from '../src/index.js';
import {schema, type TestSchema} from './schema.js';

const zql = createBuilder(schema);
const queries = defineQueries({
  issues: defineQueryWithType<TestSchema>()(() => zql.issue),
  users: defineQueryWithType<TestSchema>()(() => zql.user),
  labels: defineQueryWithType<TestSchema>()(() => zql.label),
});

const sent: [type: string, body: {readonly traceparent?: string}][] = [];

/** Accepts every connection, and keeps what is sent. */
class FakeSocket extends EventTarget {
  readonly readyState = 1;

  constructor(url: string) {
    super();
    const wsid = new URL(url).searchParams.get('wsid');
    const connected = JSON.stringify(['connected', {wsid, timestamp: 1}]);
    setTimeout(() => {
      this.#fire(new Event('open'));
      this.#fire(new MessageEvent('message', {data: connected}));
    });
  }

  send(text: string): void {
    sent.push(JSON.parse(text) as (typeof sent)[number]);
  }

  close(): void {}

  #fire(event: Event): void {
    (this as unknown as {[handler: string]: ((event: Event) => void) | undefined})[`on${event.type}`]?.(event);
    this.dispatchEvent(event);
  }
}

afterEach(() => vi.unstubAllGlobals());

test('messages carry the trace in which they were asked for', async () => {
  vi.stubGlobal('WebSocket', FakeSocket);
  const traces = {current: 'first' as string | undefined};
  const getTraceparent = () => traces.current;
  const zero = new Zero<TestSchema, undefined, unknown>({
    schema, userID: 'u1', cacheURL: 'http://localhost:1', logLevel: 'error', getTraceparent,
  });
  const message = (n: number) =>
    vi.waitFor(() => {
      const found = sent[n - 1];
      if (found === undefined) {
        throw new Error(`message ${n} has not been sent`);
      }
      return [found[0], found[1].traceparent];
    }, {timeout: 60_000});
  zero.materialize(queries.issues());
  expect(await message(1)).toEqual(['initConnection', 'first']);
  traces.current = 'second';
  zero.materialize(queries.users());
  expect(await message(2)).toEqual(['changeDesiredQueries', 'second']);
  traces.current = undefined;
  zero.materialize(queries.labels());
  expect(await message(3)).toEqual(['changeDesiredQueries', undefined]);
  await zero.close();
});
