import {expect, test} from 'vitest';
import {boolean, createSchema, enumeration, json, number, relationships, string, type TableSchema, table} from '../src/index.js';
import {schema} from './schema.js';

test('a schema is plain JSON in the shape that the engine reads', () => {
  expect(JSON.parse(JSON.stringify(schema.tables.issue))).toEqual({
    name: 'issue',
    serverName: 'issues',
    columns: {
      id: {type: 'string', optional: false, customType: null},
      title: {type: 'string', optional: false, customType: null},
      open: {type: 'boolean', optional: false, customType: null},
      kind: {type: 'string', optional: false, customType: null},
      rank: {type: 'number', optional: true, customType: null},
      meta: {type: 'json', optional: true, customType: null},
      tags: {type: 'json', optional: false, customType: null},
      ownerID: {type: 'string', optional: true, customType: null, serverName: 'owner_id'},
      created: {type: 'number', optional: false, customType: null, serverName: 'created_at'},
    },
    primaryKey: ['id'],
  });
  expect(schema.tables.issueLabel.primaryKey).toEqual(['labelID', 'issueID']);
  expect(schema.tables.label.uniqueKeys).toEqual([['name']]);
  expect(schema.relationships.issue).toEqual({
    owner: [{sourceField: ['ownerID'], destField: ['id'], destSchema: 'user', cardinality: 'one'}],
    comments: [{sourceField: ['id'], destField: ['issueID'], destSchema: 'comment', cardinality: 'many'}],
    labels: [
      {sourceField: ['id'], destField: ['issueID'], destSchema: 'issueLabel', cardinality: 'many'},
      {sourceField: ['labelID'], destField: ['id'], destSchema: 'label', cardinality: 'many'},
    ],
    mainLabel: [
      {sourceField: ['id'], destField: ['issueID'], destSchema: 'issueLabel', cardinality: 'one'},
      {sourceField: ['labelID'], destField: ['id'], destSchema: 'label', cardinality: 'one'},
    ],
  });
});

test('builders are not changed by what is made of them', () => {
  const base = string();
  expect(base.optional().schema.optional).toBe(true);
  expect(base.from('x').schema.serverName).toBe('x');
  expect(base.schema).toEqual({type: 'string', optional: false, customType: null});
  expect(enumeration<'a'>().schema.type).toBe('string');
  expect([number(), boolean(), json()].map(column => column.schema.type)).toEqual(['number', 'boolean', 'json']);
});

test('only a leading "public." is dropped from a server name', () => {
  const serverName = (name: string) => {
    const built: TableSchema = table('t').from(name).columns({id: string()}).primaryKey('id').build();
    return built.serverName;
  };
  expect(serverName('public.users')).toBe('users');
  expect(serverName('other.users')).toBe('other.users');
  expect(serverName('not_public.users')).toBe('not_public.users');
});

const a = table('a').columns({id: string(), b: string()}).primaryKey('id');
const b = table('b').columns({id: string()}).primaryKey('id');
const toB = relationships(a, ({one}) => ({r: one({sourceField: ['b'], destField: ['id'], destSchema: b})}));

const refused: {readonly [message: string]: () => unknown} = {
  'Table "x": "__proto__" must have another name here, with .from(\'__proto__\')': () =>
    createSchema({tables: [table('x').columns({id: string(), ['__proto__']: string()}).primaryKey('id')]}),
  'Table "x" is missing a primary key': () =>
    createSchema({tables: [table('x').columns({id: string()})]}),
  'Table "x" has no column "key", which its primary key names': () =>
    createSchema({tables: [table('x').columns({id: string()}).primaryKey('key' as never)]}),
  'Multiple tables reference the name "a"': () =>
    createSchema({tables: [a, table('c').from('a').columns({id: string()}).primaryKey('id')]}),
  'Table "b" is defined more than once in the schema': () =>
    createSchema({tables: [b, table('b').from('other').columns({id: string()}).primaryKey('id')]}),
  'Table "x" has multiple columns referencing "id"': () =>
    createSchema({tables: [table('x').columns({id: string(), other: string().from('id')}).primaryKey('id')]}),
  'Relationship "a"."b" cannot have the same name as the column "b" on the the table "a"': () =>
    createSchema({
      tables: [a, b],
      relationships: [relationships(a, ({one}) => ({b: one({sourceField: ['b'], destField: ['id'], destSchema: b})}))],
    }),
  'For relationship "a"."r", destination table "b" is missing in the schema': () =>
    createSchema({tables: [a], relationships: [toB]}),
  'For relationship "a"."r", the source field "nope" is missing in the table schema "a"': () =>
    createSchema({
      tables: [a, b],
      relationships: [
        relationships(a, ({one}) => ({r: one({sourceField: ['nope' as 'b'], destField: ['id'], destSchema: b})})),
      ],
    }),
  'Relationships for table "a" are defined more than once in the schema': () =>
    createSchema({tables: [a, b], relationships: [toB, toB]}),
};

test.each(Object.entries(refused))('refused: %s', (message, declare) => {
  expect(declare).toThrow(new Error(message));
});
