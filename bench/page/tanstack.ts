/** TanStack DB: one collection for each table, filled by its sync interface; live queries over them. */
import {
  and, BTreeIndex, createCollection, createLiveQueryCollection, createTransaction, eq, gte, isUndefined, materialize, not, or, toArray,
} from '@tanstack/db';
import {type AnyRow, type Data, type TableName, tableNames} from './data.ts';
import type {Engine, Live, QueryName, Result, Session} from './engine.ts';
import type {Changes} from './script.ts';
import {turn} from './waiting.ts';

// The builder's types follow each query; the cases ask by name, so they are left behind here.
type Untyped = any;

interface Table {
  readonly collection: Untyped;
  /** Writes that are confirmed. */
  apply(changes: Changes): void;
}
type Tables = {readonly [name in TableName]: Table};

function createTable(name: TableName): Table {
  let sync: Untyped;
  const collection = createCollection({
    id: `${name}-${Math.random()}`,
    getKey: (row: AnyRow) => (name === 'issueLabel' ? `${row['issueID']} ${row['labelID']}` : String(row['id'])),
    autoIndex: 'eager',
    defaultIndexType: BTreeIndex,
    startSync: true,
    gcTime: 0,
    sync: {
      rowUpdateMode: 'full',
      sync: (params: Untyped) => {
        sync = params;
        params.markReady();
      },
    },
  } as Untyped);
  const apply = (changes: Changes) => {
    sync.begin();
    for (const {op, row} of changes) {
      sync.write({type: op, value: row});
    }
    sync.commit();
  };
  return {collection, apply};
}

function queriesOf({issue, comment, user, label, issueLabel}: Tables): {readonly [name in QueryName]?: (q: Untyped) => Untyped} {
  const issues = {it: issue.collection};
  const newest = (q: Untyped) => q.orderBy(({it}: Untyped) => it.modified, 'desc').orderBy(({it}: Untyped) => it.id);
  const commentsOf = (q: Untyped, it: Untyped) =>
    q.from({c: comment.collection}).where(({c}: Untyped) => eq(c.issueID, it.id)).orderBy(({c}: Untyped) => c.id);
  const userOf = (q: Untyped, id: Untyped) =>
    materialize(q.from({u: user.collection}).where(({u}: Untyped) => eq(u.id, id)).findOne());
  return {
    // Without an order of its own: what stands in the collection's order is compared sorted.
    filter: q => q.from(issues).where(({it}: Untyped) => and(eq(it.status, 'open'), gte(it.priority, 3))),
    orderLimit: q => newest(q.from(issues)).limit(50),
    related: q =>
      newest(q.from(issues)).limit(50).select(({it}: Untyped) => ({...it, comments: toArray(commentsOf(q, it))})),
    related2: q =>
      newest(q.from(issues)).limit(50).select(({it}: Untyped) => ({
        ...it,
        owner: userOf(q, it.ownerID),
        comments: toArray(commentsOf(q, it).select(({c}: Untyped) => ({...c, author: userOf(q, c.authorID)}))),
      })),
    exists: q =>
      newest(
        q
          .from(issues)
          .innerJoin({il: issueLabel.collection}, ({it, il}: Untyped) => eq(it.id, il.issueID))
          .innerJoin({l: label.collection}, ({il, l}: Untyped) => eq(il.labelID, l.id))
          .where(({l}: Untyped) => eq(l.name, 'keel-10')),
      ).limit(100).select(({it}: Untyped) => ({...it})),
    orExists: q => {
      const theirs = q
        .from({c: comment.collection})
        .where(({c}: Untyped) => eq(c.authorID, 'u0000007'))
        .select(({c}: Untyped) => ({issueID: c.issueID}))
        .distinct();
      return newest(
        q
          .from(issues)
          .leftJoin({theirs}, ({it, theirs: t}: Untyped) => eq(it.id, t.issueID))
          .where(({it, theirs: t}: Untyped) => or(eq(it.ownerID, 'u0000007'), not(isUndefined(t)))),
      ).limit(20).select(({it}: Untyped) => ({...it}));
    },
    scan: q => q.from(issues).orderBy(({it}: Untyped) => it.id).limit(10_000),
  };
}

export const tanstack: Engine = {
  name: 'tanstack',
  missing: {},
  async start(data: Data): Promise<Session> {
    const tables = Object.fromEntries(tableNames.map(name => [name, createTable(name)])) as unknown as Tables;
    for (const name of tableNames) {
      const rows = data[name] as unknown as readonly AnyRow[];
      for (let at = 0; at < rows.length; at += 25_000) {
        tables[name].apply(rows.slice(at, at + 25_000).map(row => ({op: 'insert', table: name, row})));
        await turn();
      }
    }
    return new TanStackSession(tables);
  },
};

class TanStackSession implements Session {
  readonly #tables: Tables;
  readonly #queries: ReturnType<typeof queriesOf>;

  constructor(tables: Tables) {
    this.#tables = tables;
    this.#queries = queriesOf(tables);
  }

  async open(query: QueryName): Promise<Live> {
    const collection: Untyped = createLiveQueryCollection({query: this.#queries[query]!, startSync: true, gcTime: 0} as Untyped);
    const live = new TanStackLive(collection, query === 'filter');
    await collection.preload();
    return live;
  }

  // Optimistic, and confirmed at once: no pending writes pile up.
  async write(changes: Changes): Promise<void> {
    const transaction = createTransaction({
      mutationFn: async () => this.#apply(changes),
    });
    transaction.mutate(() => {
      for (const {op, table: name, row, set} of changes) {
        const {collection} = this.#tables[name];
        if (op === 'insert') {
          collection.insert(row);
        } else if (op === 'update') {
          collection.update(row['id'], (draft: Untyped) => Object.assign(draft, set));
        } else {
          collection.delete(row['id']);
        }
      }
    });
    await transaction.isPersisted.promise;
  }

  async poke(changes: Changes): Promise<void> {
    this.#apply(changes);
  }

  async settle(): Promise<void> {
    await turn();
  }

  async close(): Promise<void> {
    await Promise.all(tableNames.map(name => this.#tables[name].collection.cleanup()));
  }

  #apply(changes: Changes): void {
    for (const name of tableNames) {
      const its = changes.filter(change => change.table === name);
      if (its.length > 0) {
        this.#tables[name].apply(its);
      }
    }
  }
}

class TanStackLive implements Live {
  readonly #collection: Untyped;
  readonly #subscription: {unsubscribe(): void};
  readonly #sort: boolean;
  #latest: Result | undefined;
  changes = 0;

  constructor(collection: Untyped, sort: boolean) {
    this.#collection = collection;
    this.#sort = sort;
    // What an application shows is the array: it is made anew for every change, as its React binding does.
    this.#subscription = collection.subscribeChanges(() => {
      this.#latest = collection.toArray;
      this.changes++;
    });
  }

  result(): Result {
    this.#latest ??= this.#collection.toArray as Result;
    return this.#latest;
  }

  comparable(): Result {
    const result = this.#collection.toArray as readonly {readonly id: string}[];
    return this.#sort ? [...result].sort((a, b) => (a.id < b.id ? -1 : 1)) : result;
  }

  async close(): Promise<void> {
    this.#subscription.unsubscribe();
    await this.#collection.cleanup();
  }
}
