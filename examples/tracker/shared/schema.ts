// The tables as the page, the API and the permissions know them.
import { boolean, createBuilder, createSchema, enumeration, json, number, relationships, string, table } from 'landfall';

export type Priority = 'urgent' | 'high' | 'medium' | 'low';

/** Where an issue was seen; told by whoever reports it. */
export type Environment = { readonly os: string; readonly browser?: string; readonly version: string };

const user = table('user')
  .columns({ id: string(), login: string(), name: string() })
  .primaryKey('id');

const issue = table('issue')
  .columns({
    id: string(),
    title: string(),
    description: string(),
    open: boolean(),
    priority: enumeration<Priority>(),
    /** 0 is urgent, 3 is low: priorities sorted by name would be of no use. */
    priorityRank: number(),
    creatorID: string(),
    assigneeID: string().optional(),
    environment: json<Environment>().optional(),
    created: number(),
    modified: number(),
  })
  .primaryKey('id');

const comment = table('comment')
  .columns({ id: string(), issueID: string(), authorID: string(), body: string(), created: number() })
  .primaryKey('id');

const label = table('label')
  .columns({ id: string(), name: string(), color: string() })
  .primaryKey('id');

const issueLabel = table('issueLabel')
  .columns({ issueID: string(), labelID: string() })
  .primaryKey('issueID', 'labelID');

export const schema = createSchema({
  tables: [user, issue, comment, label, issueLabel],
  relationships: [
    relationships(issue, ({ one, many }) => ({
      creator: one({ sourceField: ['creatorID'], destField: ['id'], destSchema: user }),
      assignee: one({ sourceField: ['assigneeID'], destField: ['id'], destSchema: user }),
      comments: many({ sourceField: ['id'], destField: ['issueID'], destSchema: comment }),
      issueLabels: many({ sourceField: ['id'], destField: ['issueID'], destSchema: issueLabel }),
      labels: many(
        { sourceField: ['id'], destField: ['issueID'], destSchema: issueLabel },
        { sourceField: ['labelID'], destField: ['id'], destSchema: label },
      ),
    })),
    relationships(comment, ({ one }) => ({
      author: one({ sourceField: ['authorID'], destField: ['id'], destSchema: user }),
      issue: one({ sourceField: ['issueID'], destField: ['id'], destSchema: issue }),
    })),
  ],
});

export type Schema = typeof schema;

export const zql = createBuilder(schema);

declare module 'landfall' {
  interface DefaultTypes {
    schema: Schema;
  }
}
