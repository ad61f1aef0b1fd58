import {detailsOf} from '../application-error.js';
import type {ReadonlyJSONValue} from '../json.js';
import {messageOf} from '../landfall-error.js';
import type {AST} from '../query/ast.js';
import {asQueryInternals} from '../query/internals.js';
import {clientToServer, completeOrders, mapAST} from '../query/map-ast.js';
import type {AnyQuery} from '../query/query.js';
import type {Schema} from '../schema/schema.js';
import {expectArray, expectObject, expectString, ShapeError} from './json-shape.js';
import {consoleLog, type Log, type LogLevel} from './log.js';
import {isRequest} from './web-request.js';

/** Turns a named query into a query. */
export type QueryHandler = (name: string, args: ReadonlyJSONValue | undefined) => AnyQuery | Promise<AnyQuery>;

/** The answer for one query: its AST in server names, or why there is none. */
export type QueryResult =
  | {readonly id: string; readonly name: string; readonly ast: AST}
  | {
      readonly error: 'app' | 'parse';
      readonly id: string;
      readonly name: string;
      readonly message: string;
      readonly details?: ReadonlyJSONValue | undefined;
    };

/** The answer of the query endpoint. */
export type QueryResponse =
  | {
      readonly kind: 'QueryResponse';
      readonly queries: readonly QueryResult[];
      readonly userID?: string | null | undefined;
    }
  | {
      readonly kind: 'TransformFailed';
      readonly origin: 'server';
      readonly reason: 'parse' | 'internal';
      readonly message: string;
      readonly queryIDs: readonly string[];
      readonly details?: ReadonlyJSONValue | undefined;
    };

/** The options of `handleQueryRequest`: with the request as it came, or with its parts. */
export type HandleQueryRequestOptions = {
  readonly handler: QueryHandler;
  readonly schema: Schema;
  /** The user that the request was authenticated as; null or undefined when logged out. */
  readonly userID: string | null | undefined;
  readonly logLevel?: LogLevel | undefined;
} & ({readonly request: Request} | {readonly query?: unknown; readonly body: unknown});

/**
 * Answers one call of the query endpoint: turns names and arguments into queries.
 *
 * A handler that throws fails its own query only. The answer is to be sent with status 200.
 *
 * ```ts
 * const response = await handleQueryRequest({
 *   schema,
 *   userID,
 *   request,
 *   handler: (name, args) => mustGetQuery(queries, name).fn({args, ctx: {userID}}),
 * });
 * ```
 */
export function handleQueryRequest(options: HandleQueryRequestOptions): Promise<QueryResponse>;
/** @deprecated Use the form with an object, which also takes the user. */
export function handleQueryRequest(
  handler: QueryHandler,
  schema: Schema,
  requestOrBody: unknown,
  logLevel?: LogLevel,
): Promise<QueryResponse>;
export async function handleQueryRequest(
  first: HandleQueryRequestOptions | QueryHandler,
  schema?: Schema,
  requestOrBody?: unknown,
  logLevel?: LogLevel,
): Promise<QueryResponse> {
  if (typeof first === 'function') {
    return answer(firstArgument(first), schema as Schema, requestOrBody, consoleLog(logLevel ?? 'info'));
  }
  const source = 'request' in first ? first.request : first.body;
  const response = await answer(firstArgument(first.handler), first.schema, source, consoleLog(first.logLevel ?? 'info'));
  return response.kind === 'QueryResponse' ? {...response, userID: first.userID ?? null} : response;
}

/** @deprecated Use `handleQueryRequest`. Answers one call of the query endpoint with queries of all their arguments. */
export function handleGetQueriesRequest(
  handler: LegacyQueryHandler,
  schema: Schema,
  requestOrBody: unknown,
  logLevel?: LogLevel,
): Promise<QueryResponse> {
  const unwrapped: ArgsHandler = async (name, args) => {
    const result = await handler(name, args);
    return 'query' in result ? result.query : result;
  };
  return answer(unwrapped, schema, requestOrBody, consoleLog(logLevel ?? 'info'));
}

type LegacyAnswer = AnyQuery | {readonly query: AnyQuery};

/** @deprecated Turns a named query with all its arguments into a query, which may stand in an object. */
export type LegacyQueryHandler = (
  name: string,
  args: readonly ReadonlyJSONValue[],
) => LegacyAnswer | Promise<LegacyAnswer>;

// Named queries of registries have one argument or none.
function firstArgument(handler: QueryHandler): ArgsHandler {
  return (name, args) => handler(name, args[0]);
}

interface WantedQuery {
  readonly id: string;
  readonly name: string;
  readonly args: readonly unknown[];
}

type ArgsHandler = (name: string, args: readonly ReadonlyJSONValue[]) => AnyQuery | Promise<AnyQuery>;

async function answer(handler: ArgsHandler, schema: Schema, source: unknown, log: Log): Promise<QueryResponse> {
  let json: unknown;
  let wanted: readonly WantedQuery[];
  try {
    json = isRequest(source) ? await source.json() : source;
    wanted = parseWanted(json);
  } catch (error) {
    return failed('parse', `The query request could not be read: ${messageOf(error)}`, recognisableIDs(json), log);
  }
  const built = await Promise.all(wanted.map(query => build(handler, query, log)));
  try {
    const mapper = clientToServer(schema);
    const queries = built.map(query => ('ast' in query ? {...query, ast: mapAST(completeOrders(query.ast, schema), mapper)} : query));
    return {kind: 'QueryResponse', queries};
  } catch (error) {
    return failed('internal', messageOf(error), wanted.map(({id}) => id), log, error);
  }
}

async function build(handler: ArgsHandler, {id, name, args}: WantedQuery, log: Log): Promise<QueryResult> {
  try {
    const query = await handler(name, args as readonly ReadonlyJSONValue[]);
    return {id, name, ast: asQueryInternals(query).ast};
  } catch (error) {
    const message = messageOf(error);
    const details = detailsOf(error);
    log.warn(`query ${name} failed: ${message}`, error);
    const isParse = error instanceof Error && error.name === 'QueryParseError';
    return {error: isParse ? 'parse' : 'app', id, name, message, ...(details === undefined ? {} : {details})};
  }
}

function parseWanted(json: unknown): WantedQuery[] {
  const [tag, list] = expectArray(json, 'the body');
  if (tag !== 'transform') {
    throw new ShapeError('Expected "transform" as the first element of the body');
  }
  return expectArray(list, 'the second element of the body').map((value, i) => {
    const query = expectObject(value, `query ${i}`);
    return {
      id: expectString(query['id'], `id of query ${i}`),
      name: expectString(query['name'], `name of query ${i}`),
      args: expectArray(query['args'], `args of query ${i}`),
    };
  });
}

function recognisableIDs(json: unknown): string[] {
  const list: unknown = Array.isArray(json) ? json[1] : undefined;
  if (!Array.isArray(list)) {
    return [];
  }
  return (list as ({id?: unknown} | null)[]).flatMap(query => (typeof query?.id === 'string' ? [query.id] : []));
}

function failed(
  reason: 'parse' | 'internal',
  message: string,
  queryIDs: readonly string[],
  log: Log,
  ...details: unknown[]
): QueryResponse {
  log.error(`query request failed (${reason}): ${message}`, ...details);
  return {kind: 'TransformFailed', origin: 'server', reason, message, queryIDs};
}
