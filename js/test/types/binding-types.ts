// A binding to a framework, as others write them for Zero; checked by tsc alone. The same text compiles against Zero's types.
import {
  addContextToQuery,
  applyChange,
  asQueryInternals,
  DEFAULT_TTL_MS,
  type Immutable,
  skipYields,
  type ViewChange,
} from '../../src/bindings.js';
import type {
  AnyQuery,
  AnyViewFactory,
  BaseDefaultContext,
  BaseDefaultSchema,
  Change,
  CustomMutatorDefs,
  DefaultContext,
  DefaultSchema,
  Entry,
  ErroredQuery,
  Format,
  HumanReadable,
  Input,
  Output,
  PullRow,
  Query,
  QueryOrQueryRequest,
  QueryRequest,
  ReadonlyJSONValue,
  Schema,
  TTL,
  TypedView,
  ViewFactory,
  Zero,
} from '../../src/index.js';

export class MyView<V> implements Output {
  readonly #input: Input;
  readonly #format: Format;
  #root: Entry;
  readonly destroy: () => void;
  readonly updateTTL: (ttl: TTL) => void;

  constructor(
    input: Input,
    onTransactionCommit: (commit: () => void) => void,
    format: Format,
    onDestroy: () => void,
    queryComplete: true | ErroredQuery | Promise<true>,
    updateTTL: (ttl: TTL) => void,
  ) {
    this.#input = input;
    this.#format = format;
    this.#root = {'': format.singular ? undefined : []};
    this.destroy = onDestroy;
    this.updateTTL = updateTTL;
    input.setOutput(this);
    for (const node of skipYields(input.fetch({}))) {
      this.#apply({type: 'add', node});
    }
    if (queryComplete !== true && 'error' in queryComplete) {
      console.log(queryComplete.error, queryComplete.details);
    } else if (queryComplete !== true) {
      void queryComplete.catch((error: ErroredQuery) => console.log(error.message));
    }
    onTransactionCommit(() => console.log(this.data));
  }

  get data(): V {
    return this.#root[''] as V;
  }

  push(change: Change): readonly never[] {
    this.#apply(inWords(change));
    return [];
  }

  #apply(change: ViewChange): void {
    this.#root = applyChange(this.#root, change, this.#input.getSchema(), '', this.#format, true, true);
  }
}

function inWords(change: Change): ViewChange {
  switch (change[0]) {
    case 0:
      return {type: 'add', node: change[1]};
    case 1:
      return {type: 'remove', node: change[1]};
    case 2:
      return {type: 'edit', node: change[1], oldNode: change[2]};
    case 3: {
      const {relationshipName, change: inner} = change[2];
      return {type: 'child', node: change[1], child: {relationshipName, change: inWords(inner)}};
    }
  }
}

export function factory<TTable extends keyof TSchema['tables'] & string, TSchema extends Schema, TReturn>(
  _query: Query<TTable, TSchema, TReturn>,
  input: Input,
  format: Format,
  onDestroy: () => void,
  onTransactionCommit: (commit: () => void) => void,
  queryComplete: true | ErroredQuery | Promise<true>,
  updateTTL: (ttl: TTL) => void,
): MyView<HumanReadable<TReturn>> {
  return new MyView(input, onTransactionCommit, format, onDestroy, queryComplete, updateTTL);
}
factory satisfies ViewFactory<string, Schema, unknown, unknown>;
export const anyFactory: AnyViewFactory = factory;

export function useQuery<
  TTable extends keyof TSchema['tables'] & string,
  TInput extends ReadonlyJSONValue | undefined,
  TOutput extends ReadonlyJSONValue | undefined,
  TSchema extends Schema = DefaultSchema,
  TReturn = PullRow<TTable, TSchema>,
  TContext = DefaultContext,
  MD extends CustomMutatorDefs | undefined = undefined,
>(
  zero: Zero<TSchema, MD, TContext>,
  query: QueryOrQueryRequest<TTable, TInput, TOutput, TSchema, TReturn, TContext>,
): readonly [HumanReadable<TReturn>, string, Immutable<{a: number[]}>] {
  const resolved = addContextToQuery(query, zero.context);
  const hash: string = asQueryInternals(resolved).hash();
  const view = zero.materialize(resolved, factory, {ttl: DEFAULT_TTL_MS});
  const typed: TypedView<HumanReadable<TReturn>> = zero.materialize(resolved);
  typed.destroy();
  view.updateTTL('1m');
  return [view.data, hash, {a: [1]}];
}

export function looseTypes<S extends BaseDefaultSchema, C extends BaseDefaultContext>(
  zero: Zero<S, undefined, C>,
  request: QueryRequest<any, any, any, S, any, any>,
  query: AnyQuery,
): unknown[] {
  return [zero.run(request), zero.run(query), asQueryInternals(query).format.singular];
}
