export {ApplicationError, isApplicationError, type ApplicationErrorOptions} from '../application-error.js';
export {getMutator, mustGetMutator} from '../mutate/mutator-registry.js';
export type {MutateCRUD} from '../mutate/crud.js';
export type {
  AnyTransaction,
  ClientTransaction,
  DBTransaction,
  Location,
  ServerTransaction,
  Transaction,
  TransactionBase,
  TransactionReason,
} from '../mutate/transaction.js';
export {getQuery, mustGetQuery} from '../query/query-registry.js';
export type {CustomMutatorDefs, CustomMutatorImpl} from './custom-mutators.js';
export type {
  Database,
  DBConnection,
  ExtractTransactionType,
  TransactionProviderHooks,
  TransactionProviderInput,
} from './database.js';
export {OutOfOrderMutation} from './errors.js';
export {executePostgresQuery} from './execute-query.js';
export {
  handleMutateRequest,
  /** @deprecated The old name of `handleMutateRequest`. */
  handleMutateRequest as handleMutationRequest,
  type HandleMutateRequestOptions,
  type QueryParams,
} from './handle-mutate-request.js';
export {
  handleGetQueriesRequest,
  /** @deprecated The old name of `handleGetQueriesRequest`. */
  handleGetQueriesRequest as handleTransformRequest,
  handleQueryRequest,
  type HandleQueryRequestOptions,
  type LegacyQueryHandler,
  type QueryHandler,
  type QueryHandler as QueryRequestHandler,
  type QueryHandler as TransformQueryFunction,
  type QueryResponse,
  type QueryResult,
} from './handle-query-request.js';
export type {LogLevel} from './log.js';
export type {MutateResponse, MutationResponse, MutationResult, PushFailed, PushFailedReason} from './mutate-response.js';
export type {
  MutateCallback,
  MutateCallback as TransactFnCallback,
  MutationHandler,
  MutationHandler as MutateRequestHandler,
  Transact,
  Transact as TransactFn,
} from './mutation-runner.js';
export {getMutation, PushProcessor} from './push-processor.js';
export type {CleanupResultsArgs, CustomMutation, MutationID} from './push-request.js';
export {SchemaIncompatibleError, type ServerColumn, type ServerSchema, type ServerTable} from './server-schema.js';
export {CRUDMutatorFactory, makeSchemaCRUD} from './server-transaction.js';
export {ZQLDatabase} from './zql-database.js';
