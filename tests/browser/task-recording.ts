// The tasks of a page's main thread and what they did, from a trace of the browser.
import type { CDPSession, Page } from 'playwright-core';

/** A task of the main thread. */
export interface Task {
  /** How long it took, and how much of that the processor worked for it, in milliseconds. */
  readonly ms: number;
  readonly processorMs: number;
  /** What most of the time went into, longest first. */
  readonly parts: readonly string[];
}

interface TraceEvent {
  readonly name: string;
  readonly ph: string;
  readonly pid: number;
  readonly tid: number;
  readonly ts: number;
  readonly id?: string;
  readonly dur?: number;
  readonly tdur?: number;
  readonly args?: { readonly fileName?: string; readonly data?: EventData };
}

interface EventData {
  readonly url?: string;
  readonly functionName?: string;
  readonly type?: string;
  readonly startTime?: number;
  readonly timeDeltas?: readonly number[];
  readonly cpuProfile?: {
    readonly nodes?: readonly { readonly id: number; readonly parent?: number; readonly callFrame: { readonly functionName: string } }[];
    readonly samples?: readonly number[];
  };
}

// Not `ThreadControllerImpl::RunTask`, which is inside of it: what runs in microtasks alone has none.
const TASK = 'RunTask';
/** Tells the page's thread from those of other pages. */
export const MARK = 'landfall-watched';
/** What is in tasks that are shorter interests nobody. */
const SHORT_US = 5_000;
const threadOf = ({ pid, tid }: TraceEvent) => `${pid} ${tid}`;

/** A trace that is being taken. */
export class TaskRecording {
  readonly #session: CDPSession;
  readonly #events: TraceEvent[] = [];

  private constructor(session: CDPSession) {
    this.#session = session;
    session.on('Tracing.dataCollected', ({ value }) => { this.#events.push(...value as unknown as TraceEvent[]); });
  }

  /** `stacks` samples the functions that run, which takes time of its own. */
  static async start(session: CDPSession, stacks: boolean): Promise<TaskRecording> {
    const recording = new TaskRecording(session);
    const sampling = stacks ? ['disabled-by-default-v8.cpu_profiler'] : [];
    const includedCategories = [...sampling, 'toplevel', 'v8', 'devtools.timeline', 'disabled-by-default-devtools.timeline', 'disabled-by-default-v8.compile', 'v8.wasm', '__metadata', 'blink.user_timing'];
    await session.send('Tracing.start', { transferMode: 'ReportEvents', traceConfig: { includedCategories } });
    return recording;
  }

  /** All tasks of the page since the start. */
  async stop(page: Page): Promise<Task[]> {
    const inPage = await page.context().newCDPSession(page);
    await inPage.send('Runtime.evaluate', { expression: `performance.mark('${MARK}')` });
    const ended = new Promise(resolve => this.#session.once('Tracing.tracingComplete', resolve));
    await this.#session.send('Tracing.end');
    await ended;
    const mark = this.#events.findLast(event => event.name === MARK)!;
    const events = this.#events.filter(event => threadOf(event) === threadOf(mark));
    const samples = samplesOf(events, this.#events);
    const spans = events.filter(event => event.ph === 'X' && event.dur !== undefined).sort((a, b) => a.ts - b.ts || b.dur! - a.dur!);
    return spans.filter(event => event.name === TASK).map(task => ({
      ms: task.dur! / 1000,
      // A clock that is read late gives the time of one task to the next.
      processorMs: Math.min(task.tdur ?? task.dur!, task.dur!) / 1000,
      parts: partsOf(task, spans, samples),
    }));
  }
}

/** What is inside of a task: the time of each kind of work without what is inside of it. */
function partsOf(task: TraceEvent, spans: readonly TraceEvent[], samples: readonly Sample[]): string[] {
  if (task.dur! < SHORT_US) return [];
  const end = task.ts + task.dur!;
  const within = spans.filter(event => event !== task && event.ts >= task.ts && event.ts + event.dur! <= end + 1);
  const own = new Map<string, number>();
  const open: TraceEvent[] = [task];
  const add = (event: TraceEvent, ms: number) => own.set(nameOf(event), (own.get(nameOf(event)) ?? 0) + ms);
  for (const event of within) {
    while (open.length > 1 && open.at(-1)!.ts + open.at(-1)!.dur! <= event.ts) open.pop();
    add(open.at(-1)!, -event.dur! / 1000);
    add(event, event.dur! / 1000);
    open.push(event);
  }
  own.set(nameOf(task), (own.get(nameOf(task)) ?? 0) + task.dur! / 1000);
  const parts = [...own].sort(([, a], [, b]) => b - a).slice(0, 8).filter(([, ms]) => ms >= 1).map(([name, ms]) => `${ms.toFixed(1)} ms ${name}`);
  return [...parts, ...functionsOf(task, samples)];
}

const fileOf = (url: string) => /[^/?]*(?=\?|$)/.exec(url)?.[0] ?? url;

function nameOf({ name, args }: TraceEvent): string {
  const { url, functionName, type } = args?.data ?? {};
  const file = url ?? args?.fileName;
  return [name, type, functionName, file && fileOf(file)].filter(part => part !== undefined && part !== '').join(' ');
}

interface Sample { readonly at: number; readonly stack: readonly string[] }

/** The functions on the stack, innermost first, at moments of the main thread. */
function samplesOf(thread: readonly TraceEvent[], all: readonly TraceEvent[]): Sample[] {
  const samples: Sample[] = [];
  for (const { id, pid, args } of thread.filter(event => event.name === 'Profile')) {
    let at = args!.data!.startTime!;
    const nodes = new Map<number, { name: string; parent: number | undefined }>();
    for (const chunk of all.filter(event => event.name === 'ProfileChunk' && event.id === id && event.pid === pid)) {
      const { cpuProfile, timeDeltas } = chunk.args!.data!;
      for (const { id, parent, callFrame } of cpuProfile?.nodes ?? []) nodes.set(id, { name: callFrame.functionName, parent });
      cpuProfile?.samples?.forEach((sample, place) => {
        at += timeDeltas?.[place] ?? 0;
        const stack = [];
        for (let node = nodes.get(sample); node; node = node.parent === undefined ? undefined : nodes.get(node.parent)) stack.push(node.name);
        samples.push({ at, stack });
      });
    }
  }
  return samples;
}

/** The functions that most samples of a task are in. */
function functionsOf({ ts, dur }: TraceEvent, samples: readonly Sample[]): string[] {
  const within = samples.filter(({ at }) => at >= ts && at <= ts + dur!);
  const counts = new Map<string, number>();
  for (const { stack } of within) {
    for (const name of new Set(stack)) counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  const most = [...counts].sort(([, a], [, b]) => b - a).slice(0, 25);
  return most.map(([name, count]) => `${Math.round(count * 100 / within.length)} % ${name}`);
}
