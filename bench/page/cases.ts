/** What is measured, in the order in which it is done in one session of one engine. */
import type {Data} from './data.ts';
import {type Engine, type Live, liveNames, type QueryName, type Session} from './engine.ts';
import type {Changes, Script} from './script.ts';
import {collect, pause} from './waiting.ts';

/** One figure: milliseconds of the case, and its name. */
export interface Figure {
  readonly name: string;
  readonly ms: number;
}

/** What a session has shown, by name of the query and the moment: engines must agree on it. */
export type Digests = {[moment: string]: string};

export interface Round {
  readonly figures: readonly Figure[];
  readonly digests: Digests;
  /** Whether the time was over before the last case. */
  readonly stopped: boolean;
}

export interface Plan {
  /** Only cases whose name contains one of these; empty: all. */
  readonly only: readonly string[];
  /** How often each query is opened again in one session. */
  readonly repeats: number;
  /** No case begins when a session has lasted this long. */
  readonly limitSeconds: number;
}

/** Called around what is measured. */
export interface Watch {
  begin(name: string): Promise<unknown>;
  /** Given the milliseconds that have passed, gives those that count. */
  end(name: string, ms: number): Promise<number>;
}

export async function measure(engine: Engine, data: Data, script: Script, plan: Plan, watch: Watch): Promise<Round> {
  const run = new Run(engine, script, plan, watch);
  await run.all(data);
  return run;
}

class TimeOver extends Error {}

class Run implements Round {
  readonly figures: Figure[] = [];
  readonly digests: Digests = {};
  stopped = false;
  readonly #lives = new Map<QueryName, Live>();
  readonly #end: number;
  readonly #engine: Engine;
  readonly #script: Script;
  readonly #plan: Plan;
  readonly #watch: Watch;

  constructor(engine: Engine, script: Script, plan: Plan, watch: Watch) {
    this.#engine = engine;
    this.#script = script;
    this.#plan = plan;
    this.#watch = watch;
    this.#end = performance.now() + plan.limitSeconds * 1000;
  }

  async all(data: Data): Promise<void> {
    const session = await this.#timed('load', () => this.#engine.start(data, 'mem'));
    try {
      await this.#scan(session);
      await this.#hydrates(session);
      await this.#writes(session);
    } catch (error) {
      if (!(error instanceof TimeOver)) {
        throw error;
      }
      this.stopped = true;
    } finally {
      for (const live of this.#lives.values()) {
        await live.close();
      }
      await session.close();
    }
    collect();
    await pause(100);
  }

  async #scan(session: Session): Promise<void> {
    const wanted = this.#wanted('scan/first') || this.#wanted('scan/repeated');
    if (!wanted || this.#engine.missing.scan !== undefined) {
      return;
    }
    let live = await this.#timed('scan/first', () => open(session, 'scan'));
    this.#note('scan', live);
    for (let i = 0; i < this.#plan.repeats; i++) {
      await live.close();
      live = await this.#timed('scan/repeated', () => open(session, 'scan'));
    }
    await live.close();
  }

  // All stay open but the one that is opened again.
  async #hydrates(session: Session): Promise<void> {
    const lives = this.#lives;
    const expressible = liveNames.filter(name => this.#engine.missing[name] === undefined);
    for (const name of expressible) {
      collect();
      lives.set(name, await this.#timed(`hydrate/${name}/first`, () => open(session, name)));
      this.#note(name, lives.get(name)!);
    }
    for (let i = 0; i < this.#plan.repeats; i++) {
      for (const name of expressible.filter(name => this.#wanted(`hydrate/${name}/repeated`))) {
        await lives.get(name)!.close();
        lives.set(name, await this.#timed(`hydrate/${name}/repeated`, () => open(session, name)));
        this.#note(name, lives.get(name)!);
      }
    }
  }

  async #writes(session: Session): Promise<void> {
    const {update, churn, local10, local100, poke10} = this.#script;
    const write = (changes: Changes) => session.write(changes);
    await this.#sequence('update of one row', update, write, session);
    await this.#sequence('limit-window churn', churn, write, session);
    await this.#sequence('local transactions of 10 rows', local10, write, session);
    await this.#sequence('local transactions of 100 rows', local100, write, session);
    if (session.poke !== undefined) {
      await this.#sequence('pokes of 10 rows', poke10, changes => session.poke!(changes), session);
    } else {
      await this.#unmeasured(poke10, write);
    }
  }

  #checkTime(): void {
    if (performance.now() > this.#end) {
      throw new TimeOver();
    }
  }

  // All of them are done whatever is wanted: the later ones build on the earlier ones.
  async #sequence(
    name: string,
    transactions: readonly Changes[],
    apply: (changes: Changes) => Promise<void>,
    session: Session,
  ): Promise<void> {
    session.prepare?.(transactions);
    if (this.#wanted(name)) {
      await this.#measured(name, transactions, apply);
    } else {
      await this.#unmeasured(transactions, apply);
    }
    await session.settle();
    for (const [query, live] of this.#lives) {
      this.digests[`${query} after ${name}`] = digest(live);
    }
  }

  // If time is over in the middle, what was done counts.
  async #measured(name: string, transactions: readonly Changes[], apply: (changes: Changes) => Promise<void>): Promise<void> {
    collect();
    await this.#watch.begin(name);
    let done = 0;
    const start = performance.now();
    try {
      for (const changes of transactions) {
        this.#checkTime();
        await apply(changes);
        done++;
      }
    } finally {
      const ms = await this.#watch.end(name, performance.now() - start);
      if (done >= 10 || done === transactions.length) {
        this.figures.push({name, ms: ms / done});
      }
    }
  }

  async #unmeasured(transactions: readonly Changes[], apply: (changes: Changes) => Promise<void>): Promise<void> {
    for (const changes of transactions) {
      this.#checkTime();
      await apply(changes);
    }
  }

  async #timed<T>(name: string, work: () => T | Promise<T>): Promise<T> {
    this.#checkTime();
    if (!this.#wanted(name)) {
      return work();
    }
    await this.#watch.begin(name);
    const start = performance.now();
    const made = work();
    const value = made instanceof Promise ? await made : made;
    const ms = await this.#watch.end(name, performance.now() - start);
    this.figures.push({name, ms});
    return value;
  }

  #wanted(name: string): boolean {
    const {only} = this.#plan;
    return only.length === 0 || only.some(part => name.includes(part));
  }

  #note(query: string, live: Live): void {
    this.digests[query] ??= digest(live);
  }
}

// The rows are plain objects in an array when this returns.
async function open(session: Session, query: QueryName): Promise<Live> {
  const live = await session.open(query);
  live.result();
  return live;
}

/** Length and hash of a result, whatever the order of the columns. */
export function digest(live: Live): string {
  const result = live.comparable?.() ?? live.result();
  const text = JSON.stringify(result, (_, value: unknown) => {
    if (value === null || typeof value !== 'object' || Array.isArray(value)) {
      return value;
    }
    const entries = Object.entries(value).filter(([name]) => !name.startsWith('$'));
    return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)));
  });
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) {
    hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  }
  return `${result.length} rows, ${text.length} characters, ${(hash >>> 0).toString(16)}`;
}
