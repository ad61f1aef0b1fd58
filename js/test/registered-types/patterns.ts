// Ways of writing queries that applications have; checked by tsc alone.
import {createBuilder, type DefaultSchema, type Query, type QueryRowType, type Schema, type Transaction} from '@rocicorp/zero';
import {schema} from '../schema.js';
import './app.js';

const zql = createBuilder(schema);

/** A filter for any query of one table, whatever it returns. */
type IssueQuery = Query<'issue', DefaultSchema, any>;

function visible<TQuery extends IssueQuery>(query: TQuery, role: 'crew' | 'user' | undefined): TQuery {
  return query.where(({or, cmp, cmpLit}) => or(cmp('open', true), cmpLit(role, '=', 'crew'))) as TQuery;
}

/** A filter for any query of any schema. */
function nothing<TTable extends keyof S['tables'] & string, S extends Schema, TReturn>(
  query: Query<TTable, S, TReturn>,
): Query<TTable, S, TReturn> {
  return query.where(({or}) => or());
}

export function list(userID: string | undefined, by: 'created' | 'rank', role: 'crew' | undefined, from?: {id: string; created: number}) {
  let query = zql.issue
    .related('comments', q => (userID ? q.where('authorID', userID) : nothing(q)).one())
    .related('labels')
    .related('owner', q => q.one());
  if (role === undefined) {
    return nothing(query);
  }
  query = visible(query, role);
  query = query.orderBy(by, 'asc').orderBy('id', 'asc');
  if (from) {
    query = query.start(from, {inclusive: true});
  }
  return visible(query.limit(10), role);
}

type Listed = QueryRowType<typeof list>;
export const labels = (row: Listed): readonly string[] => row.labels.map(({name}) => name);
export const lastComment = (row: Listed): string | undefined => row.comments?.body;
export const owner = (row: Listed): string | undefined => row.owner?.name;

/** A column chosen at run time, of several types. */
export const byEither = (column: 'id' | 'rank', value: string | number) => zql.issue.where(column, value).one();

/** One function for several tables that have a column in common. */
export async function assertCreated(tx: Transaction, query: Query<'comment' | 'issue', typeof schema>, id: string) {
  const row = await tx.run(query.where('id', id).one());
  return row !== undefined && row.created > 0;
}

export async function uses(tx: Transaction): Promise<boolean> {
  const both = [await assertCreated(tx, zql.issue, 'a'), await assertCreated(tx, zql.comment, 'a')];
  // @ts-expect-error users have no such column
  both.push(await assertCreated(tx, zql.user, 'a'));
  return both.every(Boolean);
}

/** A query in a variable that is narrowed step by step. */
export function pick(name: string | undefined, kinds: readonly ('bug' | 'feature')[] | null) {
  let query = zql.issue;
  if (name) {
    query = query.where(({and, cmp, not, exists}) =>
      and(
        not(cmp('title', 'LIKE', 'x%')),
        exists('owner', q => q.where('name', name)),
        ...(kinds ?? []).map(kind => cmp('kind', kind)),
        ...(kinds ?? []).map(kind => exists('labels', q => q.where('name', kind), {scalar: true})),
      ),
    );
  }
  return query;
}
