import {boolean, createSchema, enumeration, json, number, relationships, string, table} from '../src/index.js';

export type Meta = {readonly tags: readonly string[]};

export const user = table('user').columns({id: string(), name: string(), manager: string().optional()}).primaryKey('id');

export const issue = table('issue')
  .from('public.issues')
  .columns({
    id: string(),
    title: string(),
    open: boolean(),
    kind: enumeration<'bug' | 'feature'>(),
    rank: number().optional(),
    meta: json<Meta>().optional(),
    tags: json<readonly string[]>(),
    ownerID: string().from('owner_id').optional(),
    created: number().from('created_at'),
  })
  .primaryKey('id');

export const comment = table('comment')
  .columns({id: string(), issueID: string().from('issue_id'), authorID: string(), body: string(), created: number()})
  .primaryKey('id');

export const label = table('label').columns({id: string(), name: string()}).primaryKey('id').unique('name');

export const issueLabel = table('issueLabel')
  .columns({labelID: string(), issueID: string()})
  .primaryKey('labelID', 'issueID');

export const userRelationships = relationships(user, ({one, many}) => ({
  manager_: one({sourceField: ['manager'], destField: ['id'], destSchema: user}),
  issues: many({sourceField: ['id'], destField: ['ownerID'], destSchema: issue}),
}));

export const issueRelationships = relationships(issue, ({one, many}) => ({
  owner: one({sourceField: ['ownerID'], destField: ['id'], destSchema: user}),
  comments: many({sourceField: ['id'], destField: ['issueID'], destSchema: comment}),
  labels: many(
    {sourceField: ['id'], destField: ['issueID'], destSchema: issueLabel},
    {sourceField: ['labelID'], destField: ['id'], destSchema: label},
  ),
  mainLabel: one(
    {sourceField: ['id'], destField: ['issueID'], destSchema: issueLabel},
    {sourceField: ['labelID'], destField: ['id'], destSchema: label},
  ),
}));

export const issueLabelRelationships = relationships(issueLabel, ({many}) => ({
  same: many({sourceField: ['labelID', 'issueID'], destField: ['labelID', 'issueID'], destSchema: issueLabel}),
}));

export const commentRelationships = relationships(comment, ({one}) => ({
  author: one({sourceField: ['authorID'], destField: ['id'], destSchema: user}),
  issue: one({sourceField: ['issueID'], destField: ['id'], destSchema: issue}),
}));

export const schema = createSchema({
  tables: [user, issue, comment, label, issueLabel],
  relationships: [userRelationships, issueRelationships, commentRelationships, issueLabelRelationships],
});

export type TestSchema = typeof schema;
