// Types that programs written for Zero name, with as many parameters and in the order that Zero's have; checked by tsc alone.
import pg from 'pg';
import {
  type AssetPermissions,
  type BaseDefaultContext,
  type BaseDefaultSchema,
  createBuilder,
  type CustomMutatorImpl,
  type CustomQuery,
  type DefaultTypes,
  defineMutators,
  defineMutatorWithType,
  defineQueries,
  defineQueryWithType,
  type FromQueryTree,
  type MakeCustomMutatorInterface,
  type MakeCustomMutatorInterfaces,
  type Mutator,
  type MutatorRegistry,
  type PermissionRule,
  type PullRow,
  type QueryInternals,
  type QueryRegistry,
  type ServerTransaction,
  type ToMutatorTree,
  type Transaction,
  type ZeroMutate,
} from '../../src/index.js';
import {NodePgConnection, type NodePgTransaction, NodePgTransactionInternal} from '../../src/server/adapters/pg.js';
import {
  type PostgresJSSql,
  PostgresJSConnection,
  type PostgresJsTransaction,
  PostgresJsTransactionInternal,
} from '../../src/server/adapters/postgresjs.js';
import {type CustomMutatorDefs as ServerMutatorDefs, ZQLDatabase} from '../../src/server/index.js';
import {schema, type TestSchema} from '../schema.js';

type Auth = {readonly sub: string};
type IssueID = {readonly id: string};

const mine: PermissionRule<Auth, TestSchema, 'issue'> = (auth, {cmp}) => cmp('ownerID', auth.sub);
export const permissions: AssetPermissions<Auth, TestSchema, 'issue'> = {select: [mine], update: {preMutation: [mine]}};

const close = async (tx: Transaction<TestSchema>, {id}: IssueID) => tx.mutate.issue.update({id, open: false});
export const impl: CustomMutatorImpl<TestSchema, unknown, IssueID> = close;
const legacy = {issue: {close}};
export const byInterface = (call: MakeCustomMutatorInterface<TestSchema, typeof close>) => call({id: '1'}).client;
export const byInterfaces = (tree: MakeCustomMutatorInterfaces<TestSchema, typeof legacy, Auth>) => tree.issue.close({id: '1'});
export const byTree = (mutate: ZeroMutate<TestSchema, typeof legacy, Auth>) => mutate.issue.close({id: '1'});

const closeDefinition = defineMutatorWithType<TestSchema, Auth>()<IssueID>(async ({tx, args}) => close(tx, args));
const mutatorDefinitions = {close: closeDefinition};
export const mutatorTree: ToMutatorTree<typeof mutatorDefinitions, TestSchema> = defineMutators(mutatorDefinitions);
export const mutators: MutatorRegistry<typeof mutatorDefinitions, TestSchema> = defineMutators(mutatorDefinitions);
export const one: Mutator<IssueID, TestSchema, Auth> = mutators.close;
export const byRequest = (mutate: ZeroMutate<TestSchema, undefined, Auth>) => mutate(mutators.close({id: '1'})).server;

const zql = createBuilder(schema);
const queryDefinitions = {
  byID: defineQueryWithType<TestSchema, Auth>()(({args}: {args: IssueID}) => zql.issue.where('id', args.id)),
  users: {all: defineQueryWithType<TestSchema, Auth>()(() => zql.user)},
};
export const queries: QueryRegistry<typeof queryDefinitions, TestSchema> = defineQueries(queryDefinitions);
export const byID: CustomQuery<'issue', IssueID, IssueID, TestSchema, PullRow<'issue', TestSchema>, Auth> = queries.byID;
export const name = (query: FromQueryTree<typeof queryDefinitions, TestSchema>): string => query.queryName;
export type ShortQuery = CustomQuery<'issue', IssueID>;

export type Context = BaseDefaultContext<DefaultTypes>;
export type AnySchema = BaseDefaultSchema<DefaultTypes>;
export const format = (internals: QueryInternals<'issue', TestSchema, unknown>) => internals.format.singular;

export const serverMutators: ServerMutatorDefs<ServerTransaction<TestSchema, NodePgTransaction>> = {
  issue: {
    close: async (tx, {id}: IssueID) => {
      const {rows} = await tx.dbTransaction.wrappedTransaction.query<IssueID>('SELECT id FROM issue WHERE id = $1', [id]);
      await tx.mutate.issue.update({id: rows[0]!.id, open: false});
    },
  },
};
export const count = async (tx: ServerTransaction<TestSchema, PostgresJsTransaction>): Promise<number> => {
  const sql = tx.dbTransaction.wrappedTransaction;
  const [row] = await sql<[{count: number}]>`SELECT count(*) FROM issue WHERE id IN ${sql(['1', '2'])}`;
  return row.count;
};

const pool = new pg.Pool({connectionString: ''});
const client = new pg.Client({connectionString: ''});
export const databases: ZQLDatabase<TestSchema, NodePgTransaction>[] = [
  new ZQLDatabase(new NodePgConnection(pool), schema),
  new ZQLDatabase(new NodePgConnection(client), schema),
  new ZQLDatabase(new NodePgConnection(async () => pool), schema),
];
export const connection: NodePgConnection = new NodePgConnection(pool);
export const postgresJS = (sql: PostgresJSSql<PostgresJsTransaction>) =>
  new ZQLDatabase<TestSchema, PostgresJsTransaction>(new PostgresJSConnection(sql), schema);
export const opened = (sql: PostgresJsTransaction) => [
  new NodePgTransactionInternal(client).query('SELECT 1', []),
  new PostgresJsTransactionInternal(sql).query('SELECT 1', []),
];
