import { ANYONE_CAN, definePermissions } from 'landfall';
import { schema } from './schema.ts';

/** The same rule as the app endpoint's: no task may be called "forbidden". */
export const permissions = definePermissions<unknown, typeof schema>(schema, () => ({
  task: {
    row: {
      select: ANYONE_CAN,
      insert: [(_auth, { cmp }) => cmp('title', '!=', 'forbidden')],
      update: { preMutation: ANYONE_CAN, postMutation: [(_auth, { cmp }) => cmp('title', '!=', 'forbidden')] },
      delete: ANYONE_CAN,
    },
  },
  counter: {
    row: { select: ANYONE_CAN, insert: ANYONE_CAN, update: { preMutation: ANYONE_CAN, postMutation: ANYONE_CAN } },
  },
  country: { row: { select: ANYONE_CAN } },
  city: { row: { select: ANYONE_CAN } },
}));
