/** The inspector: what a developer may ask about a client, its group and the server. The answers' code is loaded when it is needed. */
import type {ReadonlyJSONValue} from '../json.js';
import type {AnyQuery} from '../query/query.js';
import type {QueryRequest} from '../query/query-registry.js';
import type {Row} from '../core/row-batch.js';
import type {AST} from '../query/ast.js';
import type {Schema} from '../schema/schema.js';
import type {AnalyzeQueryOptions, AnalyzeQueryResult, InspectorMetrics, InspectorQuery} from './answers.js';

/** Questions about one client and its group. Those to the server need a connection, and the administrator's password unless the server is in development mode. */
export interface Inspector {
  readonly client: InspectorClient;
  readonly clientGroup: InspectorClientGroup;
  /** Times of all queries. */
  metrics(): Promise<InspectorMetrics>;
  /** The clients of the group that the server knows to want something, and this one. */
  clients(): Promise<InspectorClient[]>;
  /** The clients of the group that want queries. */
  clientsWithQueries(): Promise<InspectorClient[]>;
  serverVersion(): Promise<string>;
  /** Runs a query at the server and tells what it cost. */
  analyzeQuery(query: AnyQuery | QueryRequest<any, any, any, any, any, any>, options?: AnalyzeQueryOptions): Promise<AnalyzeQueryResult>;
  /** The same of an AST with the server's names. */
  analyzeServerAST(ast: AST, options?: AnalyzeQueryOptions): Promise<AnalyzeQueryResult>;
  /** The same of a query that the application's endpoint resolves. */
  analyzeNamedQuery(name: string, args: readonly ReadonlyJSONValue[], options?: AnalyzeQueryOptions): Promise<AnalyzeQueryResult>;
  /** Gives the server the administrator's password; whether it is right. Without this a page asks its user. */
  authenticate(password: string): Promise<boolean>;
}

/** One client of the group. */
export interface InspectorClient {
  readonly id: string;
  readonly clientGroup: InspectorClientGroup;
  /** Its queries, as the server knows them. */
  queries(): Promise<InspectorQuery[]>;
  /** All local rows as the server gave them, by `table/key`. The clients of a group share them. */
  map(): Promise<Map<string, ReadonlyJSONValue>>;
  /** The local rows of a table as the server gave them. */
  rows(table: string): Promise<Row[]>;
}

/** The clients that share one store. */
export interface InspectorClientGroup {
  readonly id: Promise<string>;
  clients(): Promise<InspectorClient[]>;
  clientsWithQueries(): Promise<InspectorClient[]>;
  queries(): Promise<InspectorQuery[]>;
}

/** What the inspector needs of the client it belongs to. */
export interface Inspected {
  readonly clientID: string;
  readonly clientGroupID: Promise<string>;
  /** Asks the server; resolves with the answer's kind and value. */
  ask(question: {readonly op: string; readonly [field: string]: unknown}): Promise<InspectorAnswer>;
  /** JSON text of everything that is local. */
  exportJSON(): Promise<string>;
  readonly schema: Schema;
  /** The AST of a query that is open here, by the id under which the server knows it. */
  astOf(queryID: string): AST | undefined;
  /** The AST of a query that is given. */
  clientAST(query: AnyQuery | QueryRequest<any, any, any, any, any, any>): AST;
}

/** An answer of the server. */
export interface InspectorAnswer {
  readonly op: string;
  readonly value: unknown;
}

const answers = () => import('./answers.js');

/** Makes the inspector of a client. */
export function inspectorOf(inspected: Inspected): Inspector {
  const clientGroup: InspectorClientGroup = {
    // A client that begins anew has other ids.
    get id() { return inspected.clientGroupID; },
    clients: () => clients(true),
    clientsWithQueries: () => clients(false),
    queries: async () => (await answers()).queries(inspected, undefined),
  };
  const client = (id: string): InspectorClient => ({
    id,
    clientGroup,
    queries: async () => (await answers()).queries(inspected, id),
    map: async () => (await answers()).allRows(inspected),
    rows: async table => (await answers()).rowsOf(inspected, table),
  });
  const clients = async (withOwn: boolean): Promise<InspectorClient[]> => {
    const ids = new Set(withOwn ? [inspected.clientID] : []);
    for (const query of await clientGroup.queries()) {
      ids.add(query.clientID);
    }
    return [...ids].sort().map(client);
  };
  const analyze = async (question: object, options: AnalyzeQueryOptions | undefined) =>
    (await answers()).analyze(inspected, question, options);
  return {
    get client() { return client(inspected.clientID); },
    clientGroup,
    metrics: async () => (await answers()).metrics(inspected),
    clients: clientGroup.clients,
    clientsWithQueries: clientGroup.clientsWithQueries,
    serverVersion: async () => (await answers()).serverVersion(inspected),
    analyzeQuery: async (query, options) => (await answers()).analyzeOwn(inspected, inspected.clientAST(query), options),
    analyzeServerAST: (ast, options) => analyze({ast}, options),
    analyzeNamedQuery: (name, args, options) => analyze({name, args}, options),
    authenticate: async password => (await answers()).authenticate(inspected, password),
  };
}
