// The server's mutators: those of the page, with what only the server can know laid over them.
import { ApplicationError, defineMutator, defineMutators, escapeLike, type Transaction } from 'landfall';
import { issueChange, mutators as base, newIssue } from '../shared/mutators.ts';
import { type Schema, zql } from '../shared/schema.ts';

export const mutators = defineMutators(base, {
  issue: {
    create: defineMutator(newIssue, async ({ tx, args, ctx }) => {
      await mustBeNew(tx, args.id, args.title);
      await base.issue.create.fn({ tx, args, ctx });
    }),
    update: defineMutator(issueChange, async ({ tx, args, ctx }) => {
      if (args.title !== undefined) await mustBeNew(tx, args.id, args.title);
      await base.issue.update.fn({ tx, args, ctx });
    }),
  },
});

/** A page holds some of the issues; whether an open one has this title already, only the database can tell. */
async function mustBeNew(tx: Transaction<Schema>, id: string, title: string): Promise<void> {
  const pattern = escapeLike(title.replaceAll('\\', '\\\\'));
  const same = await tx.run(zql.issue.where('open', true).where('title', 'ILIKE', pattern).where('id', '!=', id).one());
  if (same !== undefined) {
    throw new ApplicationError(`There is an open issue with this title already: ${same.title}`, {
      details: { code: 'duplicate-title', issueID: same.id },
    });
  }
}
