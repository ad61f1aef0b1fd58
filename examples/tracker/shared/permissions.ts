// Who may read and write what when there is no API in between: the server judges every row by these rules.
// With an API (DATABASE_URL), its queries and mutators decide instead.
import { ANYONE_CAN, definePermissions, type ExpressionBuilder } from 'landfall';
import { schema, type Schema } from './schema.ts';
import { GUEST } from './user.ts';

/** The claims of the token, if there is one. */
type Claims = { readonly sub: string };
type Issue = ExpressionBuilder<'issue', Schema>;
type Comment = ExpressionBuilder<'comment', Schema>;

const hasTitle = (_: Claims, { cmp }: Issue) => cmp('title', '!=', '');
// Nobody writes in the name of another; without a token one is the guest.
const asOneself = ({ sub }: Claims, { and, or, cmp }: Issue) =>
  and(cmp('title', '!=', ''), or(cmp('creatorID', sub), cmp('creatorID', GUEST)));
const ownComment = ({ sub }: Claims, { and, or, cmp }: Comment) =>
  and(cmp('body', '!=', ''), or(cmp('authorID', sub), cmp('authorID', GUEST)));

export const permissions = definePermissions<Claims, Schema>(schema, () => ({
  issue: {
    row: {
      select: ANYONE_CAN,
      insert: [asOneself],
      update: { preMutation: ANYONE_CAN, postMutation: [hasTitle] },
      delete: ANYONE_CAN,
    },
  },
  comment: {
    row: {
      select: ANYONE_CAN,
      insert: [ownComment],
      delete: ANYONE_CAN,
    },
  },
  issueLabel: {
    row: {
      select: ANYONE_CAN,
      insert: ANYONE_CAN,
      update: { preMutation: ANYONE_CAN, postMutation: ANYONE_CAN },
      delete: ANYONE_CAN,
    },
  },
  // Users and labels can be read; nobody can change them.
  user: { row: { select: ANYONE_CAN } },
  label: { row: { select: ANYONE_CAN } },
}));
