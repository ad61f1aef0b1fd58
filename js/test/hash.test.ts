import {expect, test} from 'vitest';
import {h64, xxHash32} from '../src/hash.js';
import type {AST} from '../src/query/ast.js';
import {hashOfAST, hashOfNameAndArgs} from '../src/query/internals.js';
import {normalText} from '../src/query/normalize.js';
import {compareText} from '../src/query/order.js';

test('xxHash32 agrees with its published vectors at every path of the algorithm', () => {
  const text = (s: string) => new TextEncoder().encode(s);
  expect(xxHash32(text(''), 0)).toBe(46947589);
  expect(xxHash32(text('a'), 0)).toBe(0x550d7456);
  expect(xxHash32(text('abc'), 0)).toBe(0x32d153ff);
  expect(xxHash32(text('abc'), 1)).toBe(0xaa3da8ff);
  expect(xxHash32(text('Nobody inspects the spammish repetition'), 0)).toBe(0xe2293b2f);
});

test('xxHash32 reads a slice of a larger buffer', () => {
  const bytes = new TextEncoder().encode('--Nobody inspects the spammish repetition--');
  expect(xxHash32(bytes.subarray(2, -2), 0)).toBe(0xe2293b2f);
});

test('h64 agrees with Zero', () => {
  expect(h64('')).toBe('1j5etzlexqqa');
  expect(h64('abc')).toBe('rtjjvs99c9of');
});

test('named queries have the ids that Zero gives them', () => {
  const cases: [string, never[] | [never], string][] = [
    ['foo', [], 'n10vdhyzs2yq'],
    ['foo.bar', [{id: '1'} as never], '6isephxdnu8f'],
    ['issueByID', ['1' as never], '1k3nhdk2bnacc'],
    ['allIssues', [], '3hqsmc1p5vs54'],
    ['a.b', [{z: 1, a: 'é'} as never], '321g2jtg3lyd4'],
    ['a.b', [{a: 'é', z: 1} as never], '15qp4swp2864x'],
  ];
  for (const [name, args, hash] of cases) {
    expect(hashOfNameAndArgs(name, args), name).toBe(hash);
  }
});

const equals = (column: string, value: string | number) =>
  ({type: 'simple', left: {type: 'column', name: column}, right: {type: 'literal', value}, op: '='}) as const;
const comments = {correlation: {parentField: ['id'], childField: ['issueID']}, subquery: {table: 'comment'}} as const;
const commentsAs = (alias: string) => ({system: 'client', ...comments, subquery: {table: 'comment', alias}}) as const;

test('ASTs have the hashes that Zero gives them', () => {
  const both: AST = {
    table: 'issue',
    where: {type: 'and', conditions: [equals('a', 'x'), equals('b', 2)]},
    limit: 10,
    orderBy: [['id', 'asc']],
  };
  const cases: [AST, string][] = [
    [{table: 'a'}, '48cjgk38l6ll'],
    [{table: 'issue'}, '2uh1iy5olazzo'],
    [both, '4mbyb4k8plfc'],
    [{...both, where: {type: 'and', conditions: [equals('b', 2), equals('a', 'x')]}}, '4mbyb4k8plfc'],
    [{table: 'issue', related: [commentsAs('comments')]}, '35a5uyssiepb7'],
    [
      {table: 'issue', where: {type: 'correlatedSubquery', related: commentsAs('zsubq_comments'), op: 'EXISTS'}},
      'i7o9guawuu7u',
    ],
  ];
  for (const [ast, hash] of cases) {
    expect(hashOfAST(ast), JSON.stringify(ast)).toBe(hash);
  }
});

test('always true is no condition, always false is one of its own', () => {
  const plain = hashOfAST({table: 'a'});
  const and = (...conditions: never[]) => ({type: 'and', conditions}) as const;
  const or = (...conditions: never[]) => ({type: 'or', conditions}) as const;
  expect(hashOfAST({table: 'a', where: and()})).toBe(plain);
  expect(hashOfAST({table: 'a', where: or(and() as never, equals('x', 1) as never)})).toBe(plain);
  const never = hashOfAST({table: 'a', where: or()});
  expect(never).not.toBe(plain);
  expect(hashOfAST({table: 'a', where: and(or() as never, equals('x', 1) as never)})).toBe(never);
});

test('the order of conditions does not matter, with groups and sub-queries too', () => {
  const group = {type: 'or', conditions: [equals('b', 1), equals('a', 1)]} as const;
  const exists = {type: 'correlatedSubquery', related: commentsAs('zsubq_c'), op: 'EXISTS'} as const;
  const all = [group, exists, equals('z', 1)];
  const hashes = [all, [...all].reverse(), [exists, equals('z', 1), group]].map(conditions =>
    hashOfAST({table: 'a', where: {type: 'and', conditions}}),
  );
  expect(new Set(hashes).size).toBe(1);
});

test('text is ordered by code point', () => {
  const sorted = ['', 'a', 'ab', 'b', 'é', '\uff5e', '😀', '😁'];
  expect([...sorted].reverse().sort(compareText)).toEqual(sorted);
});

test('the order of the columns of a start row does not matter', () => {
  const hash = (row: {}) => hashOfAST({table: 'a', start: {row, exclusive: true}});
  expect(hash({b: 1, a: 2})).toBe(hash({a: 2, b: 1}));
  expect(hash({b: 1, a: 2})).not.toBe(hash({b: 2, a: 1}));
  expect(hash({b: 2, j: {a: [{c: null, d: 1}], b: 1}})).toBe('w1ez6oa3bqwg');
  expect(hash({j: {b: 1, a: [{d: 1, c: null}]}, b: 2})).toBe('w1ez6oa3bqwg');
});

test('names that look like numbers stand in the order of their text, as in the engine', () => {
  const row = {b: {9: 1, 10: [{2: 1, 10: 2}]}, 9: 1, 10: 2, a: undefined};
  const text = '{"table":"a","start":{"row":{"10":2,"9":1,"b":{"10":[{"10":2,"2":1}],"9":1}},"exclusive":true}}';
  expect(normalText({table: 'a', start: {row, exclusive: true}} as AST)).toBe(text);
});
