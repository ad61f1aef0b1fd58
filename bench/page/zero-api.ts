/** The engines behind the API of Zero: one program drives the npm release of Zero and ours. */
import type * as Api from 'landfall';
import type {Data} from './data.ts';
import type {Engine, Live, QueryName, Result, Session} from './engine.ts';
import {FakeServer} from './fake-server.ts';
import type {Changes} from './script.ts';
import {pause, turn, until} from './waiting.ts';

type Module = typeof Api;

export interface ZeroSettings {
  readonly name: string;
  readonly module: Module;
  /** Options that only one of the two has. */
  readonly options?: object;
  /** How long a query that nobody shows any more is kept for a quick return. */
  readonly lingerMs: number;
}

export function zeroEngine({name, module, options, lingerMs}: ZeroSettings): Engine {
  const its = program(module);
  const start = async (data: Data, kvStore: 'mem' | 'idb'): Promise<Session> => {
    const server = new FakeServer();
    const zero = new module.Zero({
      schema: its.schema, mutators: its.mutators, userID: `user-${Math.random()}`, cacheURL: server.url, kvStore, logLevel: 'error', ...options,
    } as ConstructorParameters<Module['Zero']>[0]);
    await until('the client has connected', () => server.ready);
    await server.load(data);
    const session = new ZeroSession(zero as unknown as AnyZero, server, its, lingerMs);
    await session.loaded(data);
    return session;
  };
  return {name, missing: {}, start};
}

function program(module: Module) {
  const {createSchema, createBuilder, table, string, number, relationships, defineQueries, defineQuery, defineMutators, defineMutator} = module;
  const issue = table('issue')
    .columns({
      id: string(), title: string(), description: string(), status: string(), priority: number(), ownerID: string(),
      created: number(), modified: number(),
    })
    .primaryKey('id');
  const comment = table('comment')
    .columns({id: string(), issueID: string(), authorID: string(), body: string(), created: number()})
    .primaryKey('id');
  const user = table('user').columns({id: string(), name: string()}).primaryKey('id');
  const label = table('label').columns({id: string(), name: string()}).primaryKey('id');
  const issueLabel = table('issueLabel').columns({issueID: string(), labelID: string()}).primaryKey('issueID', 'labelID');
  const schema = createSchema({
    tables: [issue, comment, user, label, issueLabel],
    relationships: [
      relationships(issue, ({many, one}) => ({
        comments: many({sourceField: ['id'], destField: ['issueID'], destSchema: comment}),
        owner: one({sourceField: ['ownerID'], destField: ['id'], destSchema: user}),
        labels: many(
          {sourceField: ['id'], destField: ['issueID'], destSchema: issueLabel},
          {sourceField: ['labelID'], destField: ['id'], destSchema: label},
        ),
      })),
      relationships(comment, ({one}) => ({
        author: one({sourceField: ['authorID'], destField: ['id'], destSchema: user}),
      })),
    ],
  });
  const zql = createBuilder(schema);
  const newest = zql.issue.orderBy('modified', 'desc');
  const queries = defineQueries({
    filter: defineQuery(() => zql.issue.where('status', 'open').where('priority', '>=', 3)),
    orderLimit: defineQuery(() => newest.limit(50)),
    related: defineQuery(() => newest.limit(50).related('comments')),
    related2: defineQuery(() => newest.limit(50).related('owner').related('comments', it => it.related('author'))),
    exists: defineQuery(() => newest.whereExists('labels', it => it.where('name', 'keel-10')).limit(100)),
    orExists: defineQuery(() =>
      newest
        .where(({or, cmp, exists}) => or(cmp('ownerID', 'u0000007'), exists('comments', it => it.where('authorID', 'u0000007'))))
        .limit(20),
    ),
    scan: defineQuery(() => zql.issue.limit(10_000)),
    // Whether the last rows have arrived.
    comment: defineQuery(({args}: {args: {id: string}}) => zql.comment.where('id', args.id)),
    issue: defineQuery(({args}: {args: {id: string}}) => zql.issue.where('id', args.id)),
  });
  const mutators = defineMutators({
    write: defineMutator(async ({tx, args}: {tx: any; args: any}) => {
      for (const {op, table: name, row} of args.changes as Changes) {
        await tx.mutate[name][op](row);
      }
    }),
  });
  return {schema, queries, mutators};
}

type Program = ReturnType<typeof program>;
type AnyZero = {
  materialize(query: any): {readonly data: unknown; addListener(listener: (data: unknown, type?: string) => void): () => void; destroy(): void};
  mutate(request: any): {readonly client: Promise<unknown>};
  close(): Promise<unknown>;
};

class ZeroSession implements Session {
  readonly #zero: AnyZero;
  readonly #server: FakeServer;
  readonly #program: Program;
  readonly #lingerMs: number;
  readonly #open = new Set<ZeroLive>();
  readonly #args = new WeakMap<Changes, readonly object[]>();

  constructor(zero: AnyZero, server: FakeServer, program: Program, lingerMs: number) {
    this.#zero = zero;
    this.#server = server;
    this.#program = program;
    this.#lingerMs = lingerMs;
  }

  /** Loading is over when the row that was sent last is visible. */
  async loaded(data: Data): Promise<void> {
    const {comment, issue} = data;
    const query = comment.length > 0 ? this.#program.queries.comment : this.#program.queries.issue;
    const view = this.#zero.materialize(query({id: (comment.at(-1) ?? issue.at(-1)!).id} as never));
    await until('all rows have arrived', () => (view.data as Result).length === 1);
    view.destroy();
    await this.settle();
  }

  open(query: QueryName): Live | Promise<Live> {
    const live: ZeroLive = new ZeroLive(this.#zero.materialize(this.#program.queries[query]()), async () => {
      this.#open.delete(live);
      await pause(this.#lingerMs);
    });
    this.#open.add(live);
    // A view that takes long to fill is filled in slices.
    return live.isFilled ? live : until('the view is filled', () => live.isFilled).then(() => live);
  }

  prepare(transactions: readonly Changes[]): void {
    this.#server.prepare(transactions);
    for (const changes of transactions) {
      this.#args.set(changes, changes.map(({op, table, row, set}) => ({op, table, row: set ?? row})));
    }
  }

  async write(changes: Changes): Promise<void> {
    this.#server.expect(changes);
    const result = await this.#zero.mutate(this.#program.mutators.write({changes: this.#args.get(changes)} as never)).client;
    if ((result as {type?: string} | undefined)?.type === 'error') {
      throw new Error(`a write was refused: ${JSON.stringify(result)}`);
    }
  }

  async poke(changes: Changes): Promise<void> {
    const before = this.#changes();
    this.#server.poke(changes);
    while (this.#changes() === before) {
      await turn();
    }
  }

  async settle(): Promise<void> {
    await pause(50);
    this.#server.confirm();
    await pause(200);
  }

  async close(): Promise<void> {
    await this.#zero.close();
    this.#server.stop();
  }

  #changes(): number {
    let sum = 0;
    for (const live of this.#open) {
      sum += live.changes;
    }
    return sum;
  }
}

class ZeroLive implements Live {
  readonly #view: ReturnType<AnyZero['materialize']>;
  readonly #closed: () => Promise<void>;
  changes = 0;
  #isComplete = false;

  constructor(view: ReturnType<AnyZero['materialize']>, closed: () => Promise<void>) {
    this.#view = view;
    this.#closed = closed;
    view.addListener((_: unknown, type?: string) => {
      this.changes++;
      this.#isComplete = type === 'complete';
    });
  }

  result(): Result {
    return this.#view.data as Result;
  }

  get isFilled(): boolean {
    return this.#isComplete || this.result().length > 0;
  }

  async close(): Promise<void> {
    this.#view.destroy();
    await this.#closed();
  }
}
