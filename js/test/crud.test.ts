import {expect, test} from 'vitest';
import {type CRUDOp, makeCRUD} from '../src/mutate/crud.js';
import {schema} from './schema.js';

async function written(write: (mutate: any) => Promise<void>): Promise<CRUDOp> {
  const ops: CRUDOp[] = [];
  await write(makeCRUD(schema, async op => void ops.push(op)));
  expect(ops).toHaveLength(1);
  return ops[0] as CRUDOp;
}

test('a write names its table and leaves undefined members out', async () => {
  expect(await written(m => m.user.update({id: 'a', name: undefined, manager: null}))).toEqual({
    op: 'update',
    table: 'user',
    value: {id: 'a', manager: null},
  });
});

test('a delete carries the key only', async () => {
  expect(await written(m => m.user.delete({id: 'a', name: 'x'}))).toEqual({op: 'delete', table: 'user', value: {id: 'a'}});
});

const refused: [string, (mutate: any) => Promise<void>][] = [
  ['insert of table "user" needs an object, not null.', m => m.user.insert(null)],
  ['insert of table "user" needs the primary key column "id".', m => m.user.insert({name: 'x'})],
  ['upsert of table "user" needs the primary key column "id".', m => m.user.upsert({id: null, name: 'x'})],
  ['delete of table "issueLabel" needs the primary key column "issueID".', m => m.issueLabel.delete({labelID: 'x'})],
  ['Unknown column "nope" of table "user" in update.', m => m.user.update({id: 'a', nope: 1})],
  ['Unknown column "toString" of table "user" in update.', m => m.user.update({id: 'a', toString: 1})],
  ['Column "name" of table "user" holds a string, not 3.', m => m.user.update({id: 'a', name: 3})],
  ['Column "rank" of table "issue" holds a number, not NaN.', m => m.issue.update({id: 'a', rank: Number.NaN})],
  ['Column "open" of table "issue" holds a boolean, not string.', m => m.issue.update({id: 'a', open: 'yes'})],
  ['Column "created" of table "issue" holds a number, not object.', m => m.issue.update({id: 'a', created: new Date(0)})],
];

test.each(refused)('refused: %s', async (message, write) => {
  const mutate = makeCRUD(schema, async () => {
    throw new Error('nothing may be written');
  });
  await expect(write(mutate)).rejects.toThrow(new TypeError(message));
});

test('the tables can be listed, and nothing else is there', () => {
  const mutate = makeCRUD(schema, async () => {});
  expect(Object.keys(mutate)).toEqual(Object.keys(schema.tables));
  expect('user' in mutate && !('nope' in mutate) && !('toString' in mutate)).toBe(true);
  expect((mutate as {nope?: unknown}).nope).toBeUndefined();
  expect(mutate.user).toBe(mutate.user);
  expect({...mutate}.user).toBe(mutate.user);
  const {insert} = mutate.user;
  expect(insert).toBeTypeOf('function');
  expect(() => Object.assign(mutate, {user: 1})).toThrow(TypeError);
});
