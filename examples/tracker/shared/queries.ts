// What the page asks for. The API answers the same names, so that a client can only ever ask for these.
import { defineQueries, defineQuery, escapeLike } from 'landfall';
import * as z from 'zod/mini';
import { type Priority, zql } from './schema.ts';

export type { Priority };

const priority = z.enum(['urgent', 'high', 'medium', 'low']);
const sort = z.enum(['modified', 'created', 'priority', 'title']);
export type Sort = z.infer<typeof sort>;

const filter = z.object({
  status: z.enum(['open', 'closed', 'all']),
  sort,
  search: z.string().check(z.maxLength(200)),
  priority: z.optional(priority),
  assigneeID: z.optional(z.string()),
  labelID: z.optional(z.string()),
});
export type IssueFilter = z.infer<typeof filter>;

const page = z.extend(filter, { limit: z.int().check(z.positive(), z.maximum(20_000)) });

export const queries = defineQueries({
  issues: {
    list: defineQuery(page, ({ args }) => {
      let query = sorted(args.sort).limit(args.limit).related('labels').related('assignee');
      if (args.status !== 'all') query = query.where('open', args.status === 'open');
      if (args.priority !== undefined) query = query.where('priority', args.priority);
      if (args.assigneeID !== undefined) query = query.where('assigneeID', args.assigneeID);
      const { labelID } = args;
      if (labelID !== undefined) query = query.whereExists('issueLabels', link => link.where('labelID', labelID));
      const words = args.search.trim();
      if (words !== '') {
        const pattern = `%${escapeLike(words.replaceAll('\\', '\\\\'))}%`;
        query = query.where(({ or, cmp }) => or(cmp('title', 'ILIKE', pattern), cmp('description', 'ILIKE', pattern)));
      }
      return query;
    }),
    byID: defineQuery(z.string(), ({ args: id }) =>
      zql.issue
        .where('id', id)
        .related('labels')
        .related('creator')
        .related('assignee')
        .related('comments', comments => comments.orderBy('created', 'asc').related('author'))
        .one()),
  },
  users: defineQuery(() => zql.user.orderBy('name', 'asc')),
  labels: defineQuery(() => zql.label.orderBy('name', 'asc')),
});

/** Each order ends with the id, so that it is the same everywhere. */
function sorted(by: Sort) {
  switch (by) {
    case 'modified': return zql.issue.orderBy('modified', 'desc').orderBy('id', 'desc');
    case 'created': return zql.issue.orderBy('created', 'desc').orderBy('id', 'desc');
    case 'priority': return zql.issue.orderBy('priorityRank', 'asc').orderBy('modified', 'desc').orderBy('id', 'desc');
    case 'title': return zql.issue.orderBy('title', 'asc').orderBy('id', 'asc');
  }
}
