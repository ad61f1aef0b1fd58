import {expect, test} from 'vitest';
import {type AnyQuery, createBuilder} from '../../src/index.js';
import {queryText} from '../../src/inspector/query-text.js';
import {asQueryInternals} from '../../src/query/internals.js';
import {queryCases} from '../query-cases.js';
import {schema} from '../schema.js';

const zql = createBuilder(schema);
const astOf = (query: AnyQuery) => JSON.parse(JSON.stringify(asQueryInternals(query).ast));

// Parameters are no code of the builder; a conjunction without conditions has none.
const cases = Object.entries(queryCases).filter(([, make]) => {
  const text = JSON.stringify(astOf(make(zql)));
  return !text.includes('"static"') && !text.includes('"conditions":[]');
});

test.each(cases)('the text of "%s" builds it again', (_, make) => {
  const ast = astOf(make(zql));
  const text = queryText(ast);
  const again = new Function('zql', `return zql.${text};`)(zql) as AnyQuery;
  expect(astOf(again), text).toEqual(ast);
});

test('reads as it would be written', () => {
  const query = zql.issue
    .where('open', true)
    .where(({or, cmp, exists, not}) => or(cmp('title', "it's"), not(exists('labels', q => q.where('name', 'x')))))
    .whereExists('owner')
    .related('comments', q => q.orderBy('created', 'desc').limit(3))
    .start({id: 'a'}, {inclusive: true})
    .one();
  expect(queryText(asQueryInternals(query).ast)).toBe(
    "issue.where('open', '=', true)" +
      ".where(({cmp, exists, not, or}) => or(cmp('title', '=', 'it\\'s'), not(exists('labels', q => q.where('name', '=', 'x')))))" +
      ".whereExists('owner')" +
      ".related('comments', q => q.orderBy('created', 'desc').limit(3))" +
      '.start({"id":"a"}, {inclusive: true}).limit(1)',
  );
});
