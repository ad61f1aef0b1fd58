import {expect, test} from 'vitest';
import {makeIDBName, Zero} from '../src/index.js';
import {isEarlierStore} from '../src/storage-name.js';
import {schema} from './schema.js';

const own = 'landfall:u:1:abc:4:new';

test.each([
  ['another schema', 'landfall:u:1:abc:4:old', true],
  ['an earlier format, same schema', 'landfall:u:1:abc:2:new', true],
  ['an earlier format, another schema', 'landfall:u:1:abc:1:old', true],
  ['itself', own, false],
  ['a later format, which this code cannot read', 'landfall:u:1:abc:5:new', false],
  ['other settings', 'landfall:u:1:abd:4:old', false],
  ['another user', 'landfall:u:2:abc:4:old', false],
  ['a user whose name goes on', 'landfall:u:1:abc:4:x:3:old', false],
  ['a name that is not of this form', 'landfall:u:1:abc:4', false],
])('%s', (_, name, expected) => {
  expect(isEarlierStore(name, own)).toBe(expected);
});

test('the name of a database is made of a name and a version of the schema', async () => {
  const zero = new Zero({schema, userID: 'ann', storageKey: 'k', kvStore: 'mem', logLevel: 'error'});
  const [, ...parts] = zero.idbName.split(':');
  expect(makeIDBName(parts.slice(0, 2).join(':'), zero.schemaVersion)).toBe(zero.idbName);
  expect(makeIDBName('x')).toMatch(/^landfall:x:\d+$/);
  const other = new Zero({schema: {...schema, tables: {user: schema.tables.user}, relationships: {}}, userID: 'ann', kvStore: 'mem', logLevel: 'error'});
  expect(other.schemaVersion).not.toBe(zero.schemaVersion);
  await Promise.all([zero.close(), other.close()]);
});
