export {useConnectionState, useZeroOnline} from './use-connection-state.js';
export {
  createQuery,
  type CreateQueryOptions,
  type MaybeQueryResult,
  type QueryResult,
  useQuery,
  type UseQueryOptions,
} from './use-query.js';
export {createUseZero, createZero, useZero, ZeroContext} from './use-zero.js';
export {ZeroProvider, type ZeroProviderProps} from './zero-provider.js';
