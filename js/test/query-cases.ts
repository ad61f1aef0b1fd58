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
  'in no list': zql => zql.issue.where('kind', 'IN', undefined),
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
  'every operator turned round': zql =>
    zql.issue.where(({not, or, cmp, exists}) =>
      not(
        or(
          cmp('rank', '=', 1),
          cmp('rank', '!=', 1),
          cmp('rank', '<', 1),
          cmp('rank', '<=', 1),
          cmp('rank', '>', 1),
          cmp('rank', '>=', 1),
          cmp('rank', 'IS', 1),
          cmp('rank', 'IS NOT', 1),
          cmp('rank', 'IN', [1, 2.5]),
          cmp('rank', 'NOT IN', [-1e21]),
          cmp('title', 'LIKE', 'a%'),
          cmp('title', 'NOT LIKE', 'a_'),
          cmp('title', 'ILIKE', '%\\%%'),
          cmp('title', 'NOT ILIKE', 'straße'),
          exists('owner'),
          not(exists('comments')),
        ),
      ),
    ),
  'or inside and': zql =>
    zql.issue.where('open', true).where(({or, cmp}) => or(cmp('rank', 1), cmp('title', 'ILIKE', '%x%'))),
  'groups of one kind become one': zql =>
    zql.issue.where(({and, or, cmp}) =>
      and(and(cmp('rank', '<', 3), and(cmp('open', false))), or(or(cmp('rank', 1), cmp('rank', 2)), cmp('rank', 0))),
    ),
  'not is pushed down': zql =>
    zql.issue.where(({not, and, or, cmp}) =>
      not(and(cmp('rank', '<', 3), or(cmp('open', true), cmp('kind', 'NOT IN', ['bug'])))),
    ),
  'undefined conditions are left out': zql =>
    zql.issue.where(({and, cmp}) => and(undefined, cmp('open', true), undefined)),
  'an empty or is never true': zql => zql.issue.where(({or}) => or()),
  'an empty and is always true': zql => zql.issue.where(({and}) => and()),
  'never true wins in a conjunction': zql => zql.issue.where('open', true).where(({or}) => or(undefined)),
  'always true wins in a disjunction': zql => zql.issue.where(({and, or, cmp}) => or(cmp('open', true), and())),
  'two literals': zql => zql.issue.where(({cmpLit}) => cmpLit('a', '!=', 'b')),
  'a literal on the left, a list on the right': zql => zql.issue.where(({cmpLit}) => cmpLit(1, 'IN', [1, 2])),
  parameters: zql =>
    zql.issue.where(({or, cmp, cmpLit}) =>
      or(
        cmp('ownerID', '=', {type: 'static', anchor: 'authData', field: 'sub'}),
        cmp('kind', 'IN', {type: 'static', anchor: 'authData', field: ['claims', 'kinds']}),
        cmpLit({type: 'static', anchor: 'preMutationRow', field: 'open'}, 'IS', true),
      ),
    ),
  'text beyond the first plane, and numbers': zql =>
    zql.issue.where(({or, cmp}) =>
      or(cmp('title', '～'), cmp('title', '😀'), cmp('rank', 0.1), cmp('rank', 1e300), cmp('rank', -5)),
    ),
  'conditions are hashed in one order': zql =>
    zql.issue
      .where('title', 'b')
      .where('rank', '>', 2)
      .where('rank', '<', 2)
      .where('kind', 'a' as 'bug'),
  'order, limit': zql => zql.issue.orderBy('created', 'desc').orderBy('id', 'asc').limit(50),
  'a column twice in an order': zql => zql.issue.orderBy('created', 'desc').orderBy('created', 'asc'),
  'the last limit wins': zql => zql.issue.limit(5).limit(0),
  'start is exclusive': zql => zql.issue.orderBy('created', 'desc').start({created: 5, id: 'x'}),
  'start is inclusive when asked': zql => zql.issue.start({id: 'x'}, {inclusive: true}),
  'the last start wins, and columns may be null': zql =>
    zql.issue.start({id: 'x'}, {inclusive: true}).start({rank: null, open: false}, {inclusive: false}),
  'an empty start': zql => zql.issue.start({}),
  'one row': zql => zql.issue.where('id', 'x').one(),
  'one row, then more': zql => zql.issue.one().limit(2),
  'related to one': zql => zql.issue.related('owner'),
  'related to many, nested': zql =>
    zql.issue.related('comments', q => q.orderBy('created', 'desc').limit(10).related('author')).related('owner'),
  'one of many': zql => zql.issue.related('comments', q => q.one()),
  'one relationship twice': zql => zql.issue.related('comments', q => q.limit(1)).related('comments', q => q.one()),
  'related to the same table': zql => zql.user.related('manager_', q => q.related('manager_')).whereExists('issues'),
  'related by two columns': zql =>
    zql.issueLabel.related('same', q => q.whereExists('same')).start({labelID: 'l', issueID: 'i'}),
  'related through a junction': zql => zql.issue.related('labels', q => q.where('name', 'x')),
  'related to one through a junction': zql => zql.issue.related('mainLabel'),
  'the first rows through a junction': zql =>
    zql.issue.related('labels', q => q.orderBy('name', 'desc').start({name: 'x'}).limit(3)),
  'one row through a junction': zql => zql.issue.related('labels', q => q.orderBy('name', 'asc').one()),
  'a blanked relationship': zql => zql.issue.related('comments', q => q.where(({or}) => or())),
  'a row that exists': zql => zql.issue.whereExists('comments'),
  'a row that exists in a sub-query, with hints': zql =>
    zql.issue.whereExists('owner', q => q.where('name', 'x').one(), {flip: true, scalar: true}),
  'hints without a sub-query': zql => zql.issue.whereExists('owner', {scalar: false}),
  'a row that does not exist': zql => zql.issue.where(({not, exists}) => not(exists('comments'))),
  'a row that exists through a junction': zql =>
    zql.issue.whereExists('labels', q => q.where('name', 'x'), {flip: false, scalar: true}),
  'two rows that exist, in an or': zql =>
    zql.issue.where(({or, exists}) => or(exists('owner'), exists('comments', q => q.whereExists('author')))),
  'a flipped sub-query may have a start': zql =>
    zql.issue.whereExists('comments', q => q.start({id: 'x'}).related('author'), {flip: true}),
  'everything at once': zql =>
    zql.issue
      .where('open', true)
      .where(({and, or, not, cmp, exists}) =>
        or(
          cmp('rank', 'IS', null),
          not(exists('labels', q => q.where('name', 'LIKE', 'a%'))),
          and(cmp('created', '>=', 0), exists('comments', q => q.where('body', 'ILIKE', '%x%').limit(1), {flip: true})),
        ),
      )
      .related('owner', q => q.related('issues', q => q.orderBy('created', 'desc').limit(3)))
      .related('labels', q => q.where('name', '!=', 'x').orderBy('name', 'asc').limit(2))
      .orderBy('rank', 'desc')
      .start({rank: 3, id: 'i'}, {inclusive: true})
      .limit(20),
};
