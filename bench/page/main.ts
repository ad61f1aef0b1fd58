/** The page: runs what the command asks for, and hands the figures back. */
import {type Figure, measure, type Plan, type Digests} from './cases.ts';
import {generate} from './data.ts';
import {engines} from './engines.ts';
import {replaceWebSocket} from './fake-server.ts';
import {type Memory, watchModules, weigh} from './memory.ts';
import {writeScript} from './script.ts';
import {shortenTimers} from './waiting.ts';

export interface Request extends Plan {
  readonly engines: readonly string[];
  readonly issues: number;
  readonly rounds: number;
  /** Whether `benchBegin` and `benchEnd` are to be called around what is measured. */
  readonly watched: boolean;
}

export interface Answer {
  readonly [engine: string]: {
    readonly figures: Figure[];
    readonly digests: Digests[];
    readonly missing: {readonly [query: string]: string | undefined};
    failure?: string;
    stopped?: string;
  };
}

declare global {
  /** Provided by the command: profiling, or the processor's time in milliseconds; and a word on how far it is. */
  function benchBegin(engine: string, name: string): Promise<void>;
  function benchEnd(engine: string, name: string): Promise<number | undefined>;
  function benchSay(text: string): Promise<void>;
  /** Bytes of JavaScript's heap in use after a collection. */
  function benchHeap(): Promise<number>;
  function bench(request: Request): Promise<Answer>;
  function benchMemory(engine: string, rows: number): Promise<Memory>;
}

watchModules();
replaceWebSocket();
shortenTimers();

globalThis.benchMemory = (name, rows) => weigh(engines.find(engine => engine.name === name)!, rows, benchHeap);

globalThis.bench = async request => {
  const data = generate(request.issues);
  const script = writeScript(data);
  const answer: {[name: string]: Answer[string]} = {};
  const chosen = request.engines.map(name => engines.find(engine => engine.name === name)!);
  for (const {name, missing} of chosen) {
    answer[name] = {figures: [], digests: [], missing};
  }
  for (let round = 0; round < request.rounds; round++) {
    // Another engine goes first in each round.
    const order = chosen.map((_, i) => chosen[(i + round) % chosen.length]!);
    for (const engine of order) {
      const its = answer[engine.name]!;
      if (its.failure !== undefined || its.stopped !== undefined) {
        continue;
      }
      await benchSay(`round ${round + 1} of ${request.rounds}: ${engine.name}`);
      try {
        const {figures, digests, stopped} = await measure(engine, data, script, request, {
          begin: async name => request.watched && benchBegin(engine.name, name),
          end: async (name, passed) => {
            const counted = request.watched ? await benchEnd(engine.name, name) : undefined;
            if (passed > 2000) {
              await benchSay(`${engine.name}: ${name} took ${(passed / 1000).toFixed(1)} s`);
            }
            return counted ?? passed;
          },
        });
        its.figures.push(...figures);
        its.digests.push(digests);
        if (stopped) {
          its.stopped = `not through after ${request.limitSeconds} s`;
        }
      } catch (error) {
        its.failure = error instanceof Error ? (error.stack ?? error.message) : String(error);
        await benchSay(`${engine.name} failed: ${its.failure}`);
      }
    }
  }
  return answer;
};
