/** What the cases ask of an engine. */
import type {Data} from './data.ts';
import type {Changes} from './script.ts';

/** The queries, as `SEMANTICS` of this benchmark; each engine writes them in its own language. */
export const queryNames = ['filter', 'orderLimit', 'related', 'related2', 'exists', 'orExists', 'scan'] as const;
export type QueryName = (typeof queryNames)[number];

/** The six that are open while rows change. */
export const liveNames: readonly QueryName[] = ['filter', 'orderLimit', 'related', 'related2', 'exists', 'orExists'];

/** Results are compared between engines in this form: relationships by name, rows in order. */
export type Result = readonly object[];

/** An open query. */
export interface Live {
  /** The present snapshot. */
  result(): Result;
  /** The snapshot in the form in which engines are compared, if that is another one. */
  comparable?(): Result;
  /** How often the engine has announced a new snapshot. */
  readonly changes: number;
  /** Ends it; resolves when the engine has let it go, so that opening it again is work again. */
  close(): Promise<void>;
}

/** An engine with all data in it. */
export interface Session {
  /** Opens a query; it is hydrated when this returns or resolves. */
  open(query: QueryName): Live | Promise<Live>;
  /** Makes arguments and messages of these transactions beforehand: no part of a figure. */
  prepare?(transactions: readonly Changes[]): void;
  /** One transaction of the application; resolves when the open queries show it. */
  write(changes: Changes): Promise<void>;
  /** One transaction from the server; resolves when the open queries show it. Absent: the engine has no server. */
  poke?(changes: Changes): Promise<void>;
  /** Confirms what was written, and lets background work finish. Not measured. */
  settle(): Promise<void>;
  close(): Promise<void>;
}

export interface Engine {
  readonly name: string;
  /** Queries that it cannot express, with the reason. */
  readonly missing: {readonly [query in QueryName]?: string};
  /** With all data in it; what it stores stays in memory, or goes to IndexedDB if it can. */
  start(data: Data, storage: 'mem' | 'idb'): Promise<Session>;
}
