import {expect, test} from 'vitest';
import {isEarlierStore} from '../src/storage-name.js';

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
