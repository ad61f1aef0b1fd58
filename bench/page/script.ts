/** What is written while the six queries are open: the same changes, in the same order, for every engine. */
import {
  type AnyRow, below, type Comment, type Data, type Issue, issueID, pick, present, type Random, seeded, sentence, statuses,
  type TableName, userID,
} from './data.ts';

export interface Change {
  readonly op: 'insert' | 'update' | 'delete';
  readonly table: TableName;
  /** The whole new row; of a delete, the row that goes. */
  readonly row: AnyRow;
  /** The row before an update. */
  readonly old?: AnyRow;
  /** Of an update: the key, and the columns that change. */
  readonly set?: AnyRow;
}
export type Changes = readonly Change[];

/** Lists of transactions, by the name of the case that writes them. They build on each other in this order. */
export interface Script {
  /** One row each; every one of them shows in at least one of the six queries. */
  readonly update: readonly Changes[];
  /** One row each, going out of or coming into the 50 newest. */
  readonly churn: readonly Changes[];
  readonly local10: readonly Changes[];
  readonly local100: readonly Changes[];
  readonly poke10: readonly Changes[];
}

const windowSize = 50;

export function writeScript(data: Data): Script {
  const world = new World(data);
  const repeat = (count: number, make: (n: number) => Changes) => Array.from({length: count}, (_, n) => make(n));
  return {
    update: repeat(100, n => [world.visible(n)]),
    churn: repeat(50, n => [n % 2 === 0 ? world.removeNewest() : world.bump()]),
    local10: repeat(100, () => world.mixed(10)),
    local100: repeat(10, () => world.mixed(100)),
    poke10: repeat(100, () => world.mixed(10)),
  };
}

/** The issues as the script has left them. */
class World {
  readonly #random: Random = seeded(7);
  readonly #issues: Map<string, Issue>;
  readonly #count: number;
  // The newest first; more than are shown, so that rows may go.
  readonly #newest: string[];
  #comments = 0;
  #clock = present;

  constructor(data: Data) {
    this.#issues = new Map(data.issue.map(issue => [issue.id, issue]));
    this.#count = data.issue.length;
    this.#newest = [...data.issue]
      .sort((a, b) => b.modified - a.modified || (a.id < b.id ? -1 : 1))
      .slice(0, windowSize * 4)
      .map(issue => issue.id);
  }

  visible(n: number): Change {
    switch (n % 4) {
      case 0:
        return this.#edit(this.#shown(), {title: sentence(this.#random, 5)});
      case 1:
        return this.bump();
      case 2:
        return this.#intoOrOutOfFilter();
      default:
        return this.#comment(this.#shown());
    }
  }

  bump(): Change {
    const id = this.#any();
    const at = this.#newest.indexOf(id);
    if (at >= 0) {
      this.#newest.splice(at, 1);
    }
    this.#newest.unshift(id);
    return this.#edit(id, {modified: ++this.#clock});
  }

  removeNewest(): Change {
    const id = this.#newest.shift()!;
    const row = this.#issues.get(id)!;
    this.#issues.delete(id);
    return {op: 'delete', table: 'issue', row: {...row}};
  }

  /** Mostly edits of rows anywhere; some of them show. No row twice. */
  mixed(count: number): Changes {
    const changes = new Map<string, Change>();
    while (changes.size < count) {
      const change = this.#mixedOne(changes.size % 10, id => changes.has(id));
      changes.set(change.row['id'] as string, change);
    }
    return [...changes.values()];
  }

  #mixedOne(kind: number, taken: (id: string) => boolean): Change {
    let id = kind === 1 ? this.#shown() : this.#any();
    while (taken(id)) {
      id = this.#any();
    }
    switch (kind) {
      case 0:
        return this.#comment(this.#shown());
      case 1:
      case 2:
      case 3:
      case 4:
        return this.#edit(id, {title: sentence(this.#random, 5)});
      case 5:
        return this.#edit(id, {ownerID: userID(below(this.#random, 1000))});
      case 6:
        return this.#comment(id);
      default:
        return this.#edit(id, {status: pick(this.#random, statuses), priority: below(this.#random, 5)});
    }
  }

  #shown(): string {
    return this.#newest[below(this.#random, windowSize)]!;
  }

  #any(): string {
    for (;;) {
      const id = issueID(below(this.#random, this.#count));
      if (this.#issues.has(id)) {
        return id;
      }
    }
  }

  #edit(id: string, change: Partial<Issue>): Change {
    const old = this.#issues.get(id)!;
    const row = {...old, ...change};
    this.#issues.set(id, row);
    return {op: 'update', table: 'issue', row, old: {...old}, set: {id, ...change}};
  }

  #intoOrOutOfFilter(): Change {
    const id = this.#any();
    const {status, priority} = this.#issues.get(id)!;
    const shown = status === 'open' && priority >= 3;
    return this.#edit(id, shown ? {status: 'closed'} : {status: 'open', priority: 4});
  }

  #comment(issue: string): Change {
    const row: Comment = {
      id: `d${String(this.#comments++).padStart(7, '0')}`,
      issueID: issue,
      authorID: userID(below(this.#random, 1000)),
      body: sentence(this.#random, 6),
      created: ++this.#clock,
    };
    return {op: 'insert', table: 'comment', row: {...row}};
  }
}
