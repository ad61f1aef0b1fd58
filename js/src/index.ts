export {ApplicationError, type ApplicationErrorOptions, isApplicationError} from './application-error.js';
export {
  type Connection,
  type ConnectionSource,
  type ConnectionState,
  ConnectionStatus,
  type NeedsAuthReason,
  type Source,
} from './connection.js';
export type {ClientGroupID, ClientID} from './client-id.js';
export type {
  BaseDefaultContext,
  BaseDefaultSchema,
  DefaultContext,
  DefaultSchema,
  DefaultTypes,
  DefaultWrappedTransaction,
} from './default-types.js';
export {dropAllDatabases, dropDatabase} from './drop-database.js';
export type {JSONObject, JSONValue, ReadonlyJSONObject, ReadonlyJSONValue} from './json.js';
export type {
  AnalyzeQueryOptions,
  AnalyzeQueryResult,
  InspectorMetrics,
  InspectorQuery,
} from './inspector/answers.js';
export type {Digest} from './inspector/digest.js';
export type {Inspector, InspectorClient, InspectorClientGroup} from './inspector/inspector.js';
export {LandfallError, type LandfallErrorCode, TransactionClosedError} from './landfall-error.js';
export type {
  CRUDKind,
  DeleteID,
  InsertValue,
  SchemaCRUD,
  TableMutator,
  UpdateValue,
  UpsertValue,
} from './mutate/crud.js';
export type {
  AnyMutators,
  BatchMutator,
  CustomMutatorDefs,
  CustomMutatorImpl,
  DBMutator,
  MakeCustomMutatorInterface,
  MakeCustomMutatorInterfaces,
  ZeroMutate,
} from './mutate/legacy-mutators.js';
export {
  type AnyMutateRequest,
  type AnyMutator,
  type AnyMutatorDefinition,
  type AnyMutatorRegistry,
  type AssertMutatorDefinitions,
  defineMutator,
  defineMutators,
  defineMutatorsWithType,
  defineMutatorWithType,
  type EnsureMutatorDefinitions,
  getMutator,
  isMutator,
  isMutatorDefinition,
  isMutatorRegistry,
  type MutateRequest,
  type Mutator,
  type MutatorDefinition,
  type MutatorDefinitions,
  type MutatorRegistry,
  mustGetMutator,
  type ToMutatorTree,
} from './mutate/mutator-registry.js';
export type {
  MutatorResult,
  MutatorResultDetails,
  MutatorResultErrorDetails,
  MutatorResultSuccessDetails,
  PromiseWithServerResult,
} from './mutate/mutator-result.js';
export type {PendingMutation, PendingMutations} from './pending-mutation.js';
export type {
  AnyTransaction,
  ClientTransaction,
  DBTransaction,
  Location,
  ServerTransaction,
  Transaction,
  TransactionReason,
} from './mutate/transaction.js';
export {
  ANYONE_CAN,
  ANYONE_CAN_DO_ANYTHING,
  type AssetPermissions,
  type CompiledAssetPermissions,
  type CompiledPermissionsConfig,
  type CompiledPermissionsPolicy,
  type CompiledPermissionsRule,
  definePermissions,
  NOBODY_CAN,
  type PermissionRule,
  type PermissionsConfig,
} from './permissions/define-permissions.js';
export type {
  AST,
  Bound,
  ColumnReference,
  Condition,
  Conjunction,
  CorrelatedSubquery,
  CorrelatedSubqueryCondition,
  CorrelatedSubqueryOperator,
  CorrelatedSubqueryOperator as CorrelatedSubqueryConditionOperator,
  Correlation,
  Direction,
  Disjunction,
  EqualityOperator,
  EqualityOps,
  InOperator,
  InOperator as InOps,
  IsOperator,
  LikeOperator,
  LikeOperator as LikeOps,
  LiteralReference,
  LiteralValue,
  Ordering,
  OrderOperator,
  OrderOperator as OrderOps,
  OrderPart,
  Parameter,
  SimpleCondition,
  SimpleOperator,
  System,
  ValuePosition,
} from './query/ast.js';
export {createBuilder} from './query/create-builder.js';
export {escapeLike} from './query/escape-like.js';
export type {ExpressionBuilder, ExpressionFactory} from './query/expression-builder.js';
export {
  type HasParseFn,
  type ParseFn,
  type Parser,
  type QueryFn,
  type SyncedQuery,
  syncedQuery,
  syncedQueryWithContext,
  withValidation,
} from './query/synced-query.js';
export type {CustomQueryID, Format, QueryInternals} from './query/internals.js';
export type {
  AnyQuery,
  ConditionalSchemaQuery,
  ExistsOptions,
  HumanReadable,
  PullRow,
  Query,
  QueryResultType,
  QueryRowType,
  Row,
  SchemaQuery,
  ZeRow,
} from './query/query.js';
export {
  type AnyCustomQuery,
  type AnyQueryDefinition,
  type AnyQueryOrRequest,
  type AnyQueryRegistry,
  type CustomQuery,
  defineQueries,
  defineQueriesWithType,
  defineQuery,
  defineQueryWithType,
  type FromQueryTree,
  getQuery,
  isQuery,
  isQueryDefinition,
  isQueryRegistry,
  mustGetQuery,
  type QueryDefinition,
  type QueryDefinitions,
  type QueryOrQueryRequest,
  type QueryRegistry,
  type QueryRequest,
} from './query/query-registry.js';
export type {QueryPlan} from './query-plan.js';
export type {MaterializeOptions, PreloadOptions, RunOptions} from './query/run-options.js';
export type {TTL} from './query/ttl.js';
export type {
  AnyViewFactory,
  Change,
  Entry,
  EntryList,
  ErroredQuery,
  Input,
  Node,
  Output,
  Stream,
  View,
  ViewFactory,
} from './query/view-factory.js';
export type {
  Listener,
  QueryErrorDetails,
  QueryResultDetails,
  ResultType,
  TypedView,
  ViewStore,
} from './query/view-store.js';
export {boolean, ColumnBuilder, enumeration, json, number, string} from './schema/column.js';
export {
  type Cardinality,
  type Connection as RelationshipHop,
  type Relationship,
  type Relationships,
  relationships,
} from './schema/relationships.js';
export {createSchema, type Schema} from './schema/schema.js';
export type {SchemaValue, SchemaValueWithCustomType, ValueType} from './schema/schema-value.js';
export {TableBuilder, TableBuilderWithColumns, table} from './schema/table.js';
export type {PrimaryKey, PrimaryKey as CompoundKey, TableSchema} from './schema/table-schema.js';
export type {StandardSchemaV1} from './standard-schema.js';
export type {Expand, Falsy, MaybePromise} from './type-tools.js';
export {InputValidationError} from './validate-input.js';
export type {WasmSource} from './wasm-source.js';
export {
  type LogLevel,
  type LogSink,
  type StorageProblemKind,
  type UpdateNeededReason,
  UpdateNeededReasonType,
  type ZeroOptions,
} from './zero-options.js';
export {makeIDBName} from './storage-name.js';
export {Landfall, Zero} from './zero.js';
