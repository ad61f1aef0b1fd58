import type {AnyQuery, SchemaQuery} from '../src/index.js';
import type {TestSchema} from './schema.js';

type Zql = SchemaQuery<TestSchema>;

/** Queries whose ASTs are kept in `tests/cases/builder.json`, by name. */
export const queryCases: {readonly [name: string]: (zql: Zql) => AnyQuery} = {
  'a whole table': zql => zql.issue,
  'equality without an operator': zql => zql.issue.where('open', true),
  'two conditions': zql => zql.issue.where('open', true).where('rank', '>', 3),
  'a third condition stays in the same group': zql =>
    zql.issue.where('open', true).where('rank', '>', 3).where('rank', '<', 9),
  'undefined is null': zql => zql.issue.where('title', undefined),
  'is null': zql => zql.issue.where('rank', 'IS', null),
  'in a list': zql => zql.issue.where('kind', 'IN', ['bug', 'feature']),
  'in an empty list': zql => zql.issue.where('rank', 'NOT IN', []),
  'every comparison': zql =>
    zql.issue.where(({and, cmp}) =>
      and(
        cmp('rank', '=', 1),
        cmp('rank', '!=', 1),
        cmp('rank', '<', 1),
        cmp('rank', '<=', 1),
        cmp('rank', '>', 1),
        cmp('rank', '>=', 1),
        cmp('rank', 'IS NOT', 1),
        cmp('title', 'LIKE', 'a%'),
        cmp('title', 'NOT LIKE', 'a_'),
        cmp('title', 'ILIKE', '%\\%%'),
        cmp('title', 'NOT ILIKE', 'straße'),
      ),
    ),
  'or inside and': zql =>
    zql.issue.where('open', true).where(({or, cmp}) => or(cmp('rank', 1), cmp('title', 'ILIKE', '%x%'))),
  'not is pushed down': zql =>
    zql.issue.where(({not, and, or, cmp}) =>
      not(and(cmp('rank', '<', 3), or(cmp('open', true), cmp('kind', 'NOT IN', ['bug'])))),
    ),
  'undefined conditions are left out': zql =>
    zql.issue.where(({and, cmp}) => and(undefined, cmp('open', true), undefined)),
  'an empty or is never true': zql => zql.issue.where(({or}) => or()),
  'an empty and is always true': zql => zql.issue.where(({and}) => and()),
  'never true wins in a conjunction': zql => zql.issue.where('open', true).where(({or}) => or(undefined)),
  'two literals': zql => zql.issue.where(({cmpLit}) => cmpLit('a', '!=', 'b')),
  'order, limit': zql => zql.issue.orderBy('created', 'desc').orderBy('id', 'asc').limit(50),
  'the last limit wins': zql => zql.issue.limit(5).limit(0),
  'start is exclusive': zql => zql.issue.orderBy('created', 'desc').start({created: 5, id: 'x'}),
  'start is inclusive when asked': zql => zql.issue.start({id: 'x'}, {inclusive: true}),
  'one row': zql => zql.issue.where('id', 'x').one(),
  'related to one': zql => zql.issue.related('owner'),
  'related to many, nested': zql =>
    zql.issue.related('comments', q => q.orderBy('created', 'desc').limit(10).related('author')).related('owner'),
  'one of many': zql => zql.issue.related('comments', q => q.one()),
  'related through a junction': zql => zql.issue.related('labels', q => q.where('name', 'x')),
  'the first rows through a junction': zql =>
    zql.issue.related('labels', q => q.orderBy('name', 'desc').start({name: 'x'}).limit(3)),
  'one row through a junction': zql => zql.issue.related('labels', q => q.orderBy('name', 'asc').one()),
  'a blanked relationship': zql => zql.issue.related('comments', q => q.where(({or}) => or())),
  'a row that exists': zql => zql.issue.whereExists('comments'),
  'a row that exists in a sub-query, with hints': zql =>
    zql.issue.whereExists('owner', q => q.where('name', 'x').one(), {flip: true, scalar: true}),
  'a row that does not exist': zql => zql.issue.where(({not, exists}) => not(exists('comments'))),
  'a row that exists through a junction': zql =>
    zql.issue.whereExists('labels', q => q.where('name', 'x'), {flip: false, scalar: true}),
  'two rows that exist, in an or': zql =>
    zql.issue.where(({or, exists}) => or(exists('owner'), exists('comments', q => q.whereExists('author')))),
};
