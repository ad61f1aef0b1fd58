import type { QueryResultDetails } from 'landfall';
import { useConnectionState } from 'landfall/react';

/** What to say where a query has no rows: there may be none, the answer may be on its way, or nobody can be asked. */
export function useEmptyText(details: QueryResultDetails, none: string): string {
  const { name } = useConnectionState();
  if (details.type === 'error') return details.error.message;
  if (details.type === 'complete') return none;
  return name === 'connected' || name === 'connecting' ? 'Loading …' : 'Nothing of this is on this device, and the server cannot be asked now.';
}
