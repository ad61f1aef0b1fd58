export {ApplicationError, isApplicationError, type ApplicationErrorOptions} from '../application-error.js';
export {getMutator, mustGetMutator} from '../mutate/mutator-registry.js';
export type {DBTransaction, ServerTransaction} from '../mutate/transaction.js';
export {getQuery, mustGetQuery} from '../query/query-registry.js';
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
  handleQueryRequest,
  type HandleQueryRequestOptions,
  type QueryHandler,
  type QueryResponse,
  type QueryResult,
} from './handle-query-request.js';
export type {LogLevel} from './log.js';
export type {MutateResponse, MutationResponse, MutationResult, PushFailed, PushFailedReason} from './mutate-response.js';
export type {MutateCallback, MutationHandler, Transact} from './mutation-runner.js';
export type {CustomMutatorDefs, CustomMutatorImpl} from '../mutate/legacy-mutators.js';
export {getMutation, PushProcessor} from './push-processor.js';
export type {CleanupResultsArgs, CustomMutation, MutationID} from './push-request.js';
export {SchemaIncompatibleError, type ServerColumn, type ServerSchema, type ServerTable} from './server-schema.js';
export {CRUDMutatorFactory} from './server-transaction.js';
export {ZQLDatabase} from './zql-database.js';
