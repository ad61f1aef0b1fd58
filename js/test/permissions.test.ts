import {mkdtempSync, readFileSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {expect, test} from 'vitest';
import {ANYONE_CAN, ANYONE_CAN_DO_ANYTHING, definePermissions, NOBODY_CAN} from '../src/index.js';
import {compilePermissions} from '../src/permissions/define-permissions.js';
import {writePermissions} from '../src/permissions/write-permissions.js';
import {schema, type TestSchema} from './schema.js';

type Auth = {readonly sub: string; readonly org: {readonly id: string}; readonly roles: readonly string[]};

test('rules become conditions in server names, with the user as parameters', async () => {
  const compiled = await definePermissions<Auth, TestSchema>(schema, () => ({
    issue: {
      row: {
        select: ANYONE_CAN,
        insert: [(auth, {cmp}) => cmp('ownerID', auth.sub)],
        update: {preMutation: [(auth, {and, cmp, cmpLit}) => and(cmp('ownerID', auth.sub), cmpLit(auth.org.id, '=', 'x'))]},
        delete: NOBODY_CAN,
      },
      cell: {ownerID: {update: {preMutation: NOBODY_CAN}}},
    },
    user: {row: {}},
  }));
  const sub = {type: 'static', anchor: 'authData', field: 'sub'};
  const owner = {type: 'simple', left: {type: 'column', name: 'owner_id'}, right: sub, op: '='};
  expect(JSON.parse(JSON.stringify(compiled))).toEqual({
    tables: {
      issues: {
        row: {
          select: [['allow', {type: 'and', conditions: []}]],
          insert: [['allow', owner]],
          update: {
            preMutation: [
              [
                'allow',
                {
                  type: 'and',
                  conditions: [
                    owner,
                    {
                      type: 'simple',
                      left: {type: 'static', anchor: 'authData', field: ['org', 'id']},
                      right: {type: 'literal', value: 'x'},
                      op: '=',
                    },
                  ],
                },
              ],
            ],
          },
          delete: [],
        },
        cell: {owner_id: {update: {preMutation: []}}},
      },
      user: {row: {}},
    },
  });
});

test('sub-queries of rules are marked as of the permissions', () => {
  const rule = (auth: any, {exists}: any) => exists('owner', (q: any) => q.where('id', auth.sub));
  const {tables} = compilePermissions(schema, {issue: {row: {select: [rule]}}});
  expect(tables.issues?.row?.select?.[0]?.[1]).toMatchObject({
    type: 'correlatedSubquery',
    related: {system: 'permissions', correlation: {parentField: ['owner_id'], childField: ['id']}},
  });
});

test('a rule that uses the user as a value, an unknown table, an unknown column: refused', async () => {
  const define = (config: object) => definePermissions<Auth, TestSchema>(schema, () => config as never);
  const whole = define({issue: {row: {select: [(auth: any, {cmp}: any) => cmp('title', auth)]}}});
  await expect(whole).rejects.toThrow('no JWT field specified');
  await expect(define({nope: ANYONE_CAN_DO_ANYTHING})).rejects.toThrow('unknown table "nope"');
  await expect(define({issue: {cell: {nope: {}}}})).rejects.toThrow('unknown column "nope" of "issue" table');
});

test('a rule that returns no condition is refused', async () => {
  const define = (rule: () => unknown) => definePermissions(schema, () => ({issue: {row: {select: [rule as never]}}}));
  await expect(define(() => {})).rejects.toThrow('A rule of table "issue" returned undefined instead of a condition.');
  await expect(define(() => true)).rejects.toThrow('returned true instead of a condition');
});

test('no configuration, no permissions', async () => {
  await expect(definePermissions(schema, () => undefined)).resolves.toBeUndefined();
});

test('permissions are written to a file that reads back the same', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'landfall-permissions-'));
  try {
    const file = join(folder, 'permissions.json');
    const permissions = definePermissions<Auth, TestSchema>(schema, () => ({user: {row: {select: ANYONE_CAN}}}));
    await writePermissions(permissions, file);
    expect(JSON.parse(readFileSync(file, 'utf8'))).toEqual(await permissions);
    await expect(writePermissions(undefined, file)).rejects.toThrow('definePermissions gave no permissions to write.');
  } finally {
    rmSync(folder, {recursive: true});
  }
});
