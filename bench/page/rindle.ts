/** Rindle: its engine in WebAssembly behind its own store. */
import {createSchema, exists, ge, initWasm, number, or, Store, string, table, WasmBackend} from '@rindle/wasm';
import {type AnyRow, type Data, tableNames} from './data.ts';
import type {Engine, Live, QueryName, Result, Session} from './engine.ts';
import type {Changes} from './script.ts';
import {turn} from './waiting.ts';

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
const schema = createSchema({tables: [issue, comment, user, label, issueLabel]});

const comments = {parent: ['id'], child: ['issueID']} as const;
const author = {parent: ['authorID'], child: ['id']} as const;

// The builder's types follow each query; the cases ask by name, so they are left behind here.
type Untyped = any;

function queriesOf(store: Untyped): {readonly [name in QueryName]: () => Untyped} {
  const all = store.query.issue;
  const newest = all.orderBy('modified', 'desc');
  return {
    filter: () => all.where.status('open').where.priority(ge(3)),
    orderLimit: () => newest.limit(50),
    related: () => newest.limit(50).sub('comments', comment, comments),
    related2: () =>
      newest
        .limit(50)
        .sub('owner', user, {parent: ['ownerID'], child: ['id']}, (it: Untyped) => it.one())
        .sub('comments', comment, comments, (it: Untyped) => it.sub('author', user, author, (its: Untyped) => its.one())),
    exists: () =>
      newest
        .where(exists(issueLabel, comments as Untyped, (it: Untyped) =>
          it.where(exists(label, {parent: ['labelID'], child: ['id']} as Untyped, (its: Untyped) => its.where.name('keel-10')))))
        .limit(100),
    orExists: () =>
      newest
        .where(or((issue as Untyped).ownerID('u0000007'), exists(comment, comments as Untyped, (it: Untyped) => it.where.authorID('u0000007')) as Untyped))
        .limit(20),
    scan: () => all.limit(10_000),
  };
}

export const rindle: Engine = {
  name: 'rindle',
  missing: {},
  async start(data: Data): Promise<Session> {
    await initWasm(new URL('/rindle_bg.wasm', location.href));
    const store: Untyped = new Store(schema, new WasmBackend(schema));
    for (const name of tableNames) {
      const rows = data[name] as unknown as readonly AnyRow[];
      for (let at = 0; at < rows.length; at += 25_000) {
        await store.write((tx: Untyped) => rows.slice(at, at + 25_000).forEach(row => tx.add(name, row)));
        await turn();
      }
    }
    return new RindleSession(store);
  },
};

class RindleSession implements Session {
  readonly #store: Untyped;
  readonly #queries: ReturnType<typeof queriesOf>;

  constructor(store: Untyped) {
    this.#store = store;
    this.#queries = queriesOf(store);
  }

  open(query: QueryName): Live {
    return new RindleLive(this.#queries[query]().materialize());
  }

  async write(changes: Changes): Promise<void> {
    await this.#store.write((tx: Untyped) => {
      for (const {op, table: name, row, old} of changes) {
        if (op === 'insert') {
          tx.add(name, row);
        } else if (op === 'update') {
          tx.edit(name, old, row);
        } else {
          tx.remove(name, row);
        }
      }
    });
  }

  async settle(): Promise<void> {
    await turn();
  }

  async close(): Promise<void> {
    this.#store.backend?.db?.free?.();
  }
}

class RindleLive implements Live {
  readonly #view: Untyped;
  readonly #unsubscribe: () => void;
  #latest: Result | undefined;
  changes = 0;

  constructor(view: Untyped) {
    this.#view = view;
    this.#unsubscribe = view.subscribe((data: Result) => {
      this.#latest = data;
      this.changes++;
    });
  }

  result(): Result {
    this.#latest ??= this.#view.data as Result;
    return this.#latest;
  }

  // Relationships to one row come as lists of one.
  comparable(): Result {
    return this.result().map(entry => one(entry, 'owner'));
  }

  async close(): Promise<void> {
    this.#unsubscribe();
    this.#view.destroy();
  }
}

function one(entry: object, name: string): object {
  const its: {[key: string]: unknown} = {...entry};
  if (Array.isArray(its[name])) {
    its[name] = (its[name] as unknown[])[0];
  }
  if (Array.isArray(its['comments'])) {
    its['comments'] = (its['comments'] as object[]).map(it => one(it, 'author'));
  }
  return its;
}
