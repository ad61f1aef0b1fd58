/** The contract of a view that an application brings: how it is told of rows, and what it is given to make itself. */
import type {SchemaValue} from '../schema/schema-value.js';
import type {Schema} from '../schema/schema.js';
import type {PrimaryKey} from '../schema/table-schema.js';
import type {ReadonlyJSONValue} from '../json.js';
import type {Ordering, System} from './ast.js';
import type {Format} from './internals.js';
import type {Query} from './query.js';
import type {TTL} from './ttl.js';

/** Items that are read once, one after another. */
export type Stream<T> = Iterable<T>;

/** The columns of a row, without its relationships. */
export type NodeRow = {readonly [column: string]: ReadonlyJSONValue | undefined};

/** A row with its related rows, which are read when asked for. */
export type Node = {
  row: NodeRow;
  relationships: Record<string, () => Stream<Node | 'yield'>>;
};

/** The kinds of a {@link Change}, as its first element says them. */
export const changeType = {add: 0, remove: 1, edit: 2, child: 3} as const;

/** A row has come. */
export type AddChange = [type: 0, node: Node, extra: null];
/** A row has gone. */
export type RemoveChange = [type: 1, node: Node, extra: null];
/** Columns of a row are other ones; what is related to it is told by changes of its own. */
export type EditChange = [type: 2, node: Node, oldNode: Node];
/** Something has changed among the related rows of a row. */
export type ChildChange = [type: 3, node: Node, child: {relationshipName: string; change: Change}];
/** What a view is told of one row. */
export type Change = AddChange | RemoveChange | EditChange | ChildChange;

/** What the rows of one level of a query are. */
export interface SourceSchema {
  readonly tableName: string;
  readonly columns: Record<string, SchemaValue>;
  readonly primaryKey: PrimaryKey;
  readonly relationships: {[name: string]: SourceSchema};
  /** Never here: what lies behind a junction table stands in the place of the junction's rows. */
  readonly isHidden: boolean;
  readonly system: System;
  /** The order of the level. */
  readonly compareRows: (a: NodeRow, b: NodeRow) => number;
  readonly sort?: Ordering | undefined;
}

/** What gives rows. */
export interface InputBase {
  getSchema(): SourceSchema;
  destroy(): void;
}

/** What of its rows an input is asked for; a view's input gives all of them, and takes `{}`. */
export interface FetchRequest {
  readonly constraint?: {readonly [column: string]: unknown} | undefined;
  readonly multiConstraints?: readonly unknown[] | undefined;
  readonly start?: {readonly row: NodeRow; readonly basis: 'at' | 'after'} | undefined;
  readonly reverse?: boolean | undefined;
}

/** The rows of a query: those there are now, and from then on what changes. */
export interface Input extends InputBase {
  /** Who is told of changes. */
  setOutput(output: Output): void;
  /** The rows that there are, in their order. */
  fetch(request: FetchRequest): Stream<Node | 'yield'>;
}

/** Who is told of changes. */
export interface Output {
  push(change: Change, pusher: InputBase): Stream<'yield'>;
}

/** A list of entries. */
export type EntryList = readonly Entry[];
/** A row with its related rows. */
export type Entry = {readonly [name: string]: ReadonlyJSONValue | undefined | View};
/** What a query shows: a list, or one entry or none. */
export type View = EntryList | Entry | undefined;

/** Why the server refused a query. */
export interface ErroredQuery {
  readonly error: 'app' | 'parse';
  readonly id: string;
  readonly name: string;
  readonly message?: string | undefined;
  readonly details?: ReadonlyJSONValue | undefined;
}

/**
 * Makes a view of an application's own out of the rows of a query.
 *
 * It calls `input.setOutput` and reads `input.fetch({})` before it returns, is then told of each change of a row, and
 * publishes when what it gave to `onTransactionCommit` is called. `onDestroy` is for it to call when it is not needed any more.
 * `queryComplete` is `true` or the reason of a failure if that is known already; else it resolves to `true` when the
 * server has confirmed the answer, and rejects with an {@link ErroredQuery}.
 */
export type ViewFactory<TTable extends keyof TSchema['tables'] & string, TSchema extends Schema, TReturn, T> = (
  query: Query<TTable, TSchema, TReturn>,
  input: Input,
  format: Format,
  onDestroy: () => void,
  onTransactionCommit: (commit: () => void) => void,
  queryComplete: true | ErroredQuery | Promise<true>,
  updateTTL: (ttl: TTL) => void,
) => T;

/** Any view factory. */
export type AnyViewFactory = ViewFactory<string, Schema, any, any>;
