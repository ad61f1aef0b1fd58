export {useConnectionState, useZeroOnline} from './use-connection-state.js';
export {
  type MaybeQueryResult,
  type QueryResult,
  type UseQueryOptions,
  type UseSuspenseQueryOptions,
  useQuery,
  useSuspenseQuery,
} from './use-query.js';
export {createUseZero, useZero, ZeroContext} from './zero-context.js';
export {ZeroProvider, type ZeroProviderProps} from './zero-provider.js';
