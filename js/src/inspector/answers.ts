/** The inspector's questions to the server and what becomes of the answers; loaded by the first question. */
import type {Row} from '../core/row-batch.js';
import type {ReadonlyJSONValue} from '../json.js';
import {LandfallError} from '../landfall-error.js';
import type {AST} from '../query/ast.js';
import {clientToServer, mapAST} from '../query/map-ast.js';
import type {TTL} from '../query/ttl.js';
import {Digest} from './digest.js';
import type {Inspected, InspectorAnswer} from './inspector.js';
import {queryText} from './query-text.js';

/** What an analysis should tell besides counts. */
export interface AnalyzeQueryOptions {
  /** Not told by landfall-server. */
  readonly vendedRows?: boolean | undefined;
  /** The rows that would be sent. */
  readonly syncedRows?: boolean | undefined;
  /** Not told by landfall-server. */
  readonly joinPlans?: boolean | undefined;
}

/** What a query costs at the server. */
export interface AnalyzeQueryResult {
  readonly warnings: readonly string[];
  readonly syncedRowCount: number;
  readonly syncedRows?: {readonly [table: string]: readonly Row[]};
  readonly start: number;
  readonly end: number;
  readonly elapsed?: number;
  /** The query as it was run, as text. */
  readonly afterPermissions?: string;
  readonly readRowCount?: number;
  readonly readRowCountsByQuery?: {readonly [table: string]: {readonly [query: string]: number}};
  /** How landfall-server reads it; other servers tell it in fields of their own. */
  readonly plan?: ReadonlyJSONValue;
  readonly [other: string]: unknown;
}

/** Times in milliseconds. This client does not measure its own: those that end in `-client` and `-end-to-end` are empty. */
export type InspectorMetrics = {
  readonly [K in
    | 'query-materialization-client'
    | 'query-materialization-end-to-end'
    | 'query-update-client'
    | 'query-materialization-server'
    | 'query-update-server']: Digest;
};

/** A query that a client wants, as the server knows it. */
export interface InspectorQuery {
  readonly id: string;
  readonly clientID: string;
  readonly name: string | null;
  readonly args: readonly ReadonlyJSONValue[] | null;
  /** Whether all its rows have been sent. */
  readonly got: boolean;
  /** Whether the client has let it go. */
  readonly deleted: boolean;
  readonly ttl: TTL;
  readonly inactivatedAt: Date | null;
  readonly rowCount: number;
  /** As code, if this page has it open. */
  readonly clientZQL: string | null;
  /** As code with the server's names, as it is run there. */
  readonly serverZQL: string | null;
  readonly metrics: InspectorMetrics | null;
  readonly hydrateClient: number | null;
  readonly hydrateServer: number | null;
  readonly hydrateTotal: number | null;
  readonly updateClientP50: number | null;
  readonly updateClientP95: number | null;
  readonly updateServerP50: number | null;
  readonly updateServerP95: number | null;
  analyze(options?: AnalyzeQueryOptions): Promise<AnalyzeQueryResult>;
}

interface WireQuery {
  readonly clientID: string;
  readonly queryID: string;
  readonly ast: AST | null;
  readonly name: string | null;
  readonly args: readonly ReadonlyJSONValue[] | null;
  readonly got: boolean;
  readonly deleted: boolean;
  readonly ttl: number;
  readonly inactivatedAt: number | null;
  readonly rowCount: number;
  readonly metrics?: WireMetrics | null;
}

interface WireMetrics {
  readonly 'query-hydration-server-ms'?: number;
  readonly 'query-materialization-server'?: readonly number[];
  readonly 'query-update-server'?: readonly number[];
}

type Question = {readonly op: string; readonly [field: string]: unknown};

/** Asks; if the server wants the password first, asks the page's user for it and asks again. */
async function ask(inspected: Inspected, question: Question): Promise<unknown> {
  let answer = await inspected.ask(question);
  if (isRefusal(question, answer)) {
    const password = typeof globalThis.prompt === 'function' ? globalThis.prompt("The server's administrator password:") : null;
    if (password === null || !(await authenticate(inspected, password))) {
      throw new LandfallError('inspector', 'The server answers the inspector only after `inspector.authenticate(password)`.');
    }
    answer = await inspected.ask(question);
  }
  if (answer.op !== question.op) {
    throw new LandfallError('inspector', `The server refused: ${typeof answer.value === 'string' ? answer.value : answer.op}`);
  }
  return answer.value;
}

function isRefusal({op}: Question, answer: InspectorAnswer): boolean {
  return op !== 'authenticate' && answer.op === 'authenticated' && answer.value === false;
}

export async function authenticate(inspected: Inspected, value: string): Promise<boolean> {
  const answer = await inspected.ask({op: 'authenticate', value});
  return answer.op === 'authenticated' && answer.value === true;
}

export async function serverVersion(inspected: Inspected): Promise<string> {
  return (await ask(inspected, {op: 'version'})) as string;
}

export async function metrics(inspected: Inspected): Promise<InspectorMetrics> {
  return digests((await ask(inspected, {op: 'metrics'})) as WireMetrics);
}

export async function analyze(
  inspected: Inspected,
  question: object,
  options: AnalyzeQueryOptions | undefined,
): Promise<AnalyzeQueryResult> {
  return (await ask(inspected, {op: 'analyze-query', ...question, ...(options && {options})})) as AnalyzeQueryResult;
}

/** Analyses a query with the client's names. */
export async function analyzeOwn(
  inspected: Inspected,
  ast: AST,
  options: AnalyzeQueryOptions | undefined,
): Promise<AnalyzeQueryResult> {
  return analyze(inspected, {ast: mapAST(ast, clientToServer(inspected.schema))}, options);
}

export async function queries(inspected: Inspected, clientID: string | undefined): Promise<InspectorQuery[]> {
  const rows = (await ask(inspected, {op: 'queries', ...(clientID !== undefined && {clientID})})) as WireQuery[];
  return rows.map(row => inspectedQuery(inspected, row));
}

function inspectedQuery(inspected: Inspected, row: WireQuery): InspectorQuery {
  const {ast, queryID, inactivatedAt, metrics, ttl, ...same} = row;
  const clientAST = inspected.astOf(queryID);
  const update = new Digest(metrics?.['query-update-server']);
  const point = metrics?.['query-materialization-server']?.[1];
  // Own members, so that `console.table` shows them.
  return {
    ...same,
    id: queryID,
    ttl: ttl < 0 ? 'forever' : ttl,
    inactivatedAt: inactivatedAt === null ? null : new Date(inactivatedAt),
    clientZQL: clientAST === undefined ? null : queryText(clientAST),
    serverZQL: ast === null ? null : queryText(ast),
    metrics: metrics ? digests(metrics) : null,
    hydrateClient: null,
    hydrateServer: metrics?.['query-hydration-server-ms'] ?? point ?? null,
    hydrateTotal: null,
    updateClientP50: null,
    updateClientP95: null,
    updateServerP50: known(update.quantile(0.5)),
    updateServerP95: known(update.quantile(0.95)),
    analyze: async options => {
      if (ast === null) {
        throw new LandfallError('inspector', 'The server does not say what this query means.');
      }
      return analyze(inspected, {ast}, options);
    },
  };
}

function known(value: number): number | null {
  return Number.isNaN(value) ? null : value;
}

function digests(wire: WireMetrics): InspectorMetrics {
  const hydration = wire['query-hydration-server-ms'];
  return {
    'query-materialization-client': new Digest(),
    'query-materialization-end-to-end': new Digest(),
    'query-update-client': new Digest(),
    'query-materialization-server': new Digest(
      hydration === undefined ? wire['query-materialization-server'] : [1, hydration, 1],
    ),
    'query-update-server': new Digest(wire['query-update-server']),
  };
}

async function localTables(inspected: Inspected): Promise<{readonly [table: string]: readonly Row[]}> {
  return (JSON.parse(await inspected.exportJSON()) as {tables: {[table: string]: Row[]}}).tables;
}

export async function rowsOf(inspected: Inspected, table: string): Promise<Row[]> {
  return [...((await localTables(inspected))[table] ?? [])];
}

export async function allRows(inspected: Inspected): Promise<Map<string, ReadonlyJSONValue>> {
  const map = new Map<string, ReadonlyJSONValue>();
  for (const [table, rows] of Object.entries(await localTables(inspected))) {
    const key = inspected.schema.tables[table]?.primaryKey ?? [];
    for (const row of rows) {
      const values = key.map(column => row[column]);
      map.set(`${table}/${values.length === 1 ? String(values[0]) : JSON.stringify(values)}`, row);
    }
  }
  return map;
}
