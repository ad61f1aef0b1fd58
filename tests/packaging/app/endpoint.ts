// The app's endpoint, compiled without the browser's types.
import { mustGetMutator, mustGetQuery } from 'landfall';
import { handleMutateRequest, handleQueryRequest, type ZQLDatabase } from 'landfall/server';
import { mutators, queries, schema } from './schema.js';

export const query = (request: Request, userID: string | null) =>
  handleQueryRequest({ handler: (name, args) => mustGetQuery(queries, name).fn({ args, ctx: { userID } }), schema, userID, request });

export const mutate = (request: Request, userID: string | null, dbProvider: ZQLDatabase<typeof schema, unknown>) =>
  handleMutateRequest({
    dbProvider,
    handler: transact => transact((tx, name, args) => mustGetMutator(mutators, name).fn({ tx, args, ctx: { userID } })),
    userID,
    request,
  });
