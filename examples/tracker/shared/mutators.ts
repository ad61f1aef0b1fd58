// Every change the tracker can make. They run in the page at once; with an API they run there again, for good.
import { ApplicationError, defineMutator, defineMutators, type Transaction } from 'landfall';
import * as z from 'zod/mini';
import { type Priority, type Schema, zql } from './schema.ts';
import { userOf } from './user.ts';

export const RANKS: Readonly<Record<Priority, number>> = { urgent: 0, high: 1, medium: 2, low: 3 };

const id = z.string().check(z.minLength(1), z.maxLength(64));
const time = z.int().check(z.nonnegative());
const title = z.string().check(
  z.trim(), z.minLength(1, 'An issue needs a title'), z.maxLength(200, 'A title has at most 200 characters'),
);
const text = z.string().check(z.maxLength(20_000, 'A text has at most 20,000 characters'));
const body = text.check(z.trim(), z.minLength(1, 'A comment needs some words'));
const priority = z.enum(['urgent', 'high', 'medium', 'low']);
const assigneeID = z.nullable(id);

export const newIssue = z.object({ id, title, description: text, priority, assigneeID, created: time });
export const issueChange = z.object({
  id,
  title: z.optional(title),
  description: z.optional(text),
  priority: z.optional(priority),
  open: z.optional(z.boolean()),
  assigneeID: z.optional(assigneeID),
  modified: time,
});
const link = z.object({ issueID: id, labelID: id });

export const mutators = defineMutators({
  issue: {
    create: defineMutator(newIssue, async ({ tx, args, ctx }) => {
      await tx.mutate.issue.insert({
        ...args,
        open: true,
        priorityRank: RANKS[args.priority],
        creatorID: userOf(ctx),
        modified: args.created,
      });
    }),

    update: defineMutator(issueChange, async ({ tx, args }) => {
      await mustBeThere(tx, args.id);
      await tx.mutate.issue.update(args.priority === undefined ? args : { ...args, priorityRank: RANKS[args.priority] });
    }),

    delete: defineMutator(z.object({ id }), async ({ tx, args }) => {
      for (const comment of await tx.run(zql.comment.where('issueID', args.id))) {
        await tx.mutate.comment.delete({ id: comment.id });
      }
      for (const { issueID, labelID } of await tx.run(zql.issueLabel.where('issueID', args.id))) {
        await tx.mutate.issueLabel.delete({ issueID, labelID });
      }
      await tx.mutate.issue.delete({ id: args.id });
    }),

    addLabel: defineMutator(link, async ({ tx, args }) => {
      await mustBeThere(tx, args.issueID);
      await tx.mutate.issueLabel.upsert(args);
    }),

    removeLabel: defineMutator(link, async ({ tx, args }) => {
      await tx.mutate.issueLabel.delete(args);
    }),
  },

  comment: {
    add: defineMutator(z.object({ id, issueID: id, body, created: time }), async ({ tx, args, ctx }) => {
      await mustBeThere(tx, args.issueID);
      await tx.mutate.comment.insert({ ...args, authorID: userOf(ctx) });
      await tx.mutate.issue.update({ id: args.issueID, modified: args.created });
    }),

    remove: defineMutator(z.object({ id }), async ({ tx, args }) => {
      await tx.mutate.comment.delete(args);
    }),
  },
});

/** Somebody else may have deleted the issue in the meantime; then the change has nothing to go to. */
async function mustBeThere(tx: Transaction<Schema>, issueID: string): Promise<void> {
  if (await tx.run(zql.issue.where('id', issueID).one()) === undefined) {
    throw new ApplicationError('This issue has been deleted', { details: { issueID } });
  }
}
