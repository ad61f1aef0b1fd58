/** When writes leave the page: the real module, over a socket of the test's own. */
import {afterEach, beforeEach, expect, test, vi} from 'vitest';
import {createBuilder, defineMutators, defineMutatorWithType, defineQueries, defineQueryWithType, Zero} from '../src/index.js';
import {schema, type TestSchema} from './schema.js';

const mutators = defineMutators({
  rename: defineMutatorWithType<TestSchema>()(async ({tx, args}: {tx: any; args: any}) => {
    await tx.mutate.label.upsert({id: args.id, name: args.name});
  }),
});

const queries = defineQueries({labels: defineQueryWithType<TestSchema>()(() => createBuilder(schema).label)});

type Push = readonly ['push', {readonly mutations: readonly {readonly id: number}[]}];
const pushes: number[][] = [];
const types: string[] = [];

/** Accepts every connection, knows nothing, and keeps what is written. */
class FakeSocket extends EventTarget {
  readonly readyState = 1;
  readonly bufferedAmount = 0;

  constructor(url: string) {
    super();
    const wsid = new URL(url).searchParams.get('wsid');
    setTimeout(() => {
      this.#fire(new Event('open'));
      this.#tell('connected', {wsid, timestamp: 1});
      this.#tell('pokeStart', {pokeID: '1', baseCookie: null});
      this.#tell('pokeEnd', {pokeID: '1', cookie: '01'});
    });
  }

  send(text: string): void {
    const message = JSON.parse(text) as Push;
    types.push(message[0]);
    if (message[0] === 'push') {
      pushes.push(message[1].mutations.map(({id}) => id));
    }
  }

  close(): void {}

  #tell(...message: readonly [type: string, body: object]): void {
    this.#fire(new MessageEvent('message', {data: JSON.stringify(message)}));
  }

  #fire(event: Event): void {
    (this as unknown as {[handler: string]: ((event: Event) => void) | undefined})[`on${event.type}`]?.(event);
    this.dispatchEvent(event);
  }
}

beforeEach(() => {
  vi.stubGlobal('WebSocket', FakeSocket);
  pushes.length = 0;
  types.length = 0;
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

const write = (zero: Awaited<ReturnType<typeof connected>>, n: number) =>
  zero.mutate(mutators.rename({id: `l${n}`, name: `label ${n}`}) as never) as {client: Promise<unknown>};

/** However slow the machine is, everything is close from now on to what went out before. */
function standStill(): void {
  const now = performance.now() + 10;
  vi.spyOn(performance, 'now').mockReturnValue(now);
}

/** Everything that this task still does has been done, and no other one has begun. */
const endOfTask = () => new Promise<void>(resolve => process.nextTick(resolve));

/** A window and a document where Node has none. */
function stubPage() {
  const [page, document] = [new EventTarget(), Object.assign(new EventTarget(), {visibilityState: 'visible'})];
  vi.stubGlobal('addEventListener', page.addEventListener.bind(page));
  vi.stubGlobal('removeEventListener', page.removeEventListener.bind(page));
  vi.stubGlobal('document', document);
  return {
    show(visibilityState: 'visible' | 'hidden'): void {
      document.visibilityState = visibilityState;
      document.dispatchEvent(new Event('visibilitychange'));
    },
    leave: () => page.dispatchEvent(new Event('pagehide')),
  };
}

async function connected() {
  const zero = new Zero<TestSchema, typeof mutators, unknown>({schema, mutators, userID: 'u1', cacheURL: 'http://localhost:1', kvStore: 'mem', logLevel: 'error'});
  await vi.waitFor(() => expect(zero.connection.state.current.name).toBe('connected'), {timeout: 60_000});
  return zero;
}

test('the first write goes out at once, and those that follow it closely together', async () => {
  const zero = await connected();
  const sent = (count: number) =>
    vi.waitFor(() => expect(pushes.flat()).toHaveLength(count), {timeout: 60_000});
  await write(zero, 1).client;
  await sent(1);
  standStill();
  for (let n = 2; n <= 30; n++) {
    await write(zero, n).client;
  }
  expect(pushes).toEqual([[1], [2]]);
  await sent(30);
  expect(pushes).toEqual([[1], [2], Array.from({length: 28}, (_, n) => n + 3)]);
  vi.restoreAllMocks();
  await zero.close();
});

test('what a hidden page writes goes out at once: it may have no other turn', async () => {
  const page = stubPage();
  const zero = await connected();
  page.show('hidden');
  standStill();
  for (let n = 1; n <= 4; n++) {
    await write(zero, n).client;
    await endOfTask();
    expect(pushes).toHaveLength(n);
  }
  expect(pushes).toEqual([[1], [2], [3], [4]]);
  page.show('visible');
  await write(zero, 5).client;
  await endOfTask();
  expect(pushes).toHaveLength(4);
  await vi.waitFor(() => expect(pushes).toHaveLength(5), {timeout: 60_000});
  vi.restoreAllMocks();
  await zero.close();
});

test('what waits goes out when the page is hidden or left, and so does what it writes then', async () => {
  const page = stubPage();
  const zero = await connected();
  standStill();
  for (let n = 1; n <= 3; n++) {
    await write(zero, n).client;
  }
  await endOfTask();
  expect(pushes).toEqual([[1]]);
  page.show('hidden');
  await endOfTask();
  expect(pushes).toEqual([[1], [2, 3]]);
  page.show('visible');
  await write(zero, 4).client;
  await write(zero, 5).client;
  await endOfTask();
  expect(pushes).toHaveLength(2);
  page.leave();
  await write(zero, 6).client;
  await endOfTask();
  expect(pushes).toEqual([[1], [2, 3], [4, 5], [6]]);
  vi.restoreAllMocks();
  await zero.close();
});

test('the timer after which the server hears of a query is set when the query is shown', async () => {
  const zero = await connected();
  const setTimer = vi.spyOn(globalThis, 'setTimeout');
  const view = zero.materialize(queries.labels());
  expect(view.data).toEqual([]);
  expect(setTimer).not.toHaveBeenCalled();
  await vi.waitFor(() => expect(types).toContain('changeDesiredQueries'), {timeout: 60_000});
  await zero.close();
});
