// Written by the test `the_types_of_typescript_are_current` in crates/web; do not edit.
import type {ConnectionState} from '../connection.js';
import type {MutationError, MutationOutcome} from './mutation-outcome.js';

/** What the core asks of TypeScript. */
export type HostEffect = { "type": "runMutator", tx: number, reason: 'optimistic' | 'rebase', clientID: string, mutationID: number, name: string, argsJSON: string, }
  | { "type": "mutationLocal", call: number, error: MutationError, }
  | { "type": "mutationDurable", call: number, error: string, }
  | { "type": "mutationOutcome", call?: number, outcome: MutationOutcome, }
  | { "type": "queryFailed", views: Array<number>, kind: string, name: string, message: string, detailsJSON?: string, }
  | { "type": "connection", state: ConnectionState, }
  | { "type": "ready", clientGroupID: string, }
  | { "type": "updateNeeded", reason: 'NewClientGroup' | 'VersionNotSupported' | 'SchemaVersionNotSupported', message: string, }
  | { "type": "clientStateNotFound", clientID: string, clientGroupID: string, }
  | { "type": "storageProblem", kind: 'quota' | 'unavailable' | 'closed' | 'damaged' | 'evicted' | 'other', message: string, }
  | { "type": "inspected", op: string, id: string, valueJSON: string, }
  | { "type": "log", level: 'error' | 'warn' | 'info' | 'debug', message: string, }
  | { "type": "drained" }
  | { "type": "earlierUnneeded" }
  | { "type": "closed" };
