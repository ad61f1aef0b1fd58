/** How a query was run over the local data, level by level. */
export type QueryPlan = {
  readonly table: string;
  /** The relationship; the root has none. */
  readonly alias?: string;
  readonly role: 'result' | 'junction' | 'exists' | 'permission';
  /** Columns that a parent row gives. */
  readonly joinedBy?: readonly string[];
  /** Columns that the condition fixes. */
  readonly pinned?: readonly string[];
  readonly order?: readonly string[];
  readonly start?: true;
  readonly limit?: number;
  /** Of an `exists`: asked for each row, or the rows are found by it. */
  readonly evaluation?: 'semi' | 'flipped';
  /** How the rows are found, in words. */
  readonly access: string;
  /** What the planner went by where it had a choice; costs are in rows passed on the way. */
  readonly expected?: {
    readonly tableRows: number;
    readonly rows: number;
    readonly scanCost: number;
    readonly drivenCost?: number;
  };
  /** What was read, and how many rows came out of the level; those of an `exists` are not counted. */
  readonly read?: {readonly fetches: number; readonly rows: number; readonly given: number};
  readonly conditions?: readonly QueryPlan[];
  readonly related?: readonly QueryPlan[];
};
