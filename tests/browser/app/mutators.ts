import { defineMutator, defineMutators } from 'landfall';
import { z } from 'zod';
import { zql } from './schema.ts';

const newTask = z.object({ id: z.string(), title: z.string(), rank: z.number() });

export const mutators = defineMutators({
  task: {
    create: defineMutator(newTask, async ({ tx, args }) => {
      await tx.mutate.task.insert({ ...args, done: false });
    }),
    rename: defineMutator(z.object({ id: z.string(), title: z.string() }), async ({ tx, args }) => {
      await tx.mutate.task.update(args);
    }),
    remove: defineMutator(z.object({ id: z.string() }), async ({ tx, args }) => {
      await tx.mutate.task.delete(args);
    }),
    refuse: defineMutator(z.object({ id: z.string() }), async ({ args }) => {
      throw new Error(`refused ${args.id}`);
    }),
  },
  counter: {
    /** Reads before it writes: applied twice, it counts twice. */
    add: defineMutator(z.object({ id: z.string(), entry: z.string() }), async ({ tx, args }) => {
      const counter = await tx.run(zql.counter.where('id', args.id).one());
      await tx.mutate.counter.upsert({ id: args.id, value: (counter?.value ?? 0) + 1 });
      await tx.mutate.task.insert({ id: args.entry, title: `entry ${args.entry}`, done: true, rank: 1000 });
    }),
  },
});
