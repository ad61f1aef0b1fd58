/** The inspector against a server that is a function. */
import {afterEach, describe, expect, test, vi} from 'vitest';
import {createBuilder, LandfallError, type ConnectionState} from '../../src/index.js';
import {inspectorOf} from '../../src/inspector/inspector.js';
import {Questions} from '../../src/inspector/questions.js';
import {asQueryInternals} from '../../src/query/internals.js';
import {StateSource} from '../../src/state-source.js';
import {schema} from '../schema.js';

const zql = createBuilder(schema);
type Question = {readonly op: string; readonly [field: string]: any};
type Answer = {readonly op: string; readonly value: unknown};

const ofServer = {
  clientID: 'other', queryID: 'h', ast: {table: 'public.issues', limit: 2}, name: 'issues', args: [1], got: true,
  deleted: false, ttl: -1, inactivatedAt: 5, rowCount: 2,
  metrics: {'query-hydration-server-ms': 7, 'query-update-server': [1000, 3, 1, 1, 1]},
};

function inspected(answer: (question: Question) => Answer) {
  const asked: Question[] = [];
  const inspector = inspectorOf({
    clientID: 'own',
    clientGroupID: Promise.resolve('group'),
    schema,
    ask: async question => {
      asked.push(question);
      return answer(question);
    },
    exportJSON: async () => '{"tables":{"issueLabel":[{"labelID":"l","issueID":"i"}],"user":[{"id":"u"}]}}',
    astOf: id => (id === 'h' ? {table: 'issue', limit: 2} : undefined),
    clientAST: query => asQueryInternals(query as never).ast,
  });
  return {inspector, asked};
}

afterEach(() => vi.unstubAllGlobals());

test('tells the queries of a group, its clients and the times', async () => {
  const {inspector, asked} = inspected(({op}) => ({op, value: [ofServer]}));
  const [query] = await inspector.clientGroup.queries();
  expect(query).toMatchObject({
    id: 'h', clientID: 'other', name: 'issues', args: [1], got: true, deleted: false, ttl: 'forever', rowCount: 2,
    inactivatedAt: new Date(5), clientZQL: 'issue.limit(2)', serverZQL: 'public.issues.limit(2)',
    hydrateServer: 7, hydrateClient: null, updateServerP50: 1, updateServerP95: 3,
  });
  expect(query!.metrics!['query-materialization-server'].quantile(0.5)).toBe(7);
  expect(query!.metrics!['query-update-server'].count()).toBe(2);
  expect((await inspector.clients()).map(({id}) => id)).toEqual(['other', 'own']);
  expect((await inspector.clientsWithQueries()).map(({id}) => id)).toEqual(['other']);
  await inspector.client.queries();
  expect(asked.at(-1)).toEqual({op: 'queries', clientID: 'own'});
  expect(await inspector.clientGroup.id).toBe('group');
});

test('analyses with the names of the server', async () => {
  const {inspector, asked} = inspected(({op}) => ({op, value: {warnings: [], syncedRowCount: 1}}));
  expect(await inspector.analyzeQuery(zql.issue.where('ownerID', 'u'), {syncedRows: true})).toMatchObject({syncedRowCount: 1});
  expect(asked[0]).toMatchObject({
    op: 'analyze-query', options: {syncedRows: true},
    ast: {table: 'issues', where: {left: {name: 'owner_id'}}},
  });
  await inspector.analyzeNamedQuery('issues', [{open: true}]);
  expect(asked[1]).toEqual({op: 'analyze-query', name: 'issues', args: [{open: true}]});
});

test('tells the local rows', async () => {
  const {inspector} = inspected(() => ({op: 'error', value: 'not asked'}));
  expect(await inspector.client.rows('user')).toEqual([{id: 'u'}]);
  expect(await inspector.client.rows('issue')).toEqual([]);
  expect([...(await inspector.client.map()).keys()]).toEqual(['issueLabel/["l","i"]', 'user/u']);
});

describe('the password', () => {
  const guarded = () => {
    let open = false;
    return inspected(({op, value}) => {
      if (op === 'authenticate') {
        open = value === 'sesame';
        return {op: 'authenticated', value: open};
      }
      return open ? {op, value: '1.2.3'} : {op: 'authenticated', value: false};
    });
  };

  test('is asked of the user of a page, once', async () => {
    const prompt = vi.fn(() => 'sesame');
    vi.stubGlobal('prompt', prompt);
    const {inspector} = guarded();
    expect(await inspector.serverVersion()).toBe('1.2.3');
    expect(await inspector.serverVersion()).toBe('1.2.3');
    expect(prompt).toHaveBeenCalledTimes(1);
  });

  test('can be given', async () => {
    const {inspector} = guarded();
    await expect(inspector.serverVersion()).rejects.toThrow('inspector.authenticate');
    expect(await inspector.authenticate('wrong')).toBe(false);
    expect(await inspector.authenticate('sesame')).toBe(true);
    expect(await inspector.serverVersion()).toBe('1.2.3');
  });

  test('an error of the server is an error', async () => {
    const {inspector} = inspected(() => ({op: 'error', value: 'no such table'}));
    await expect(inspector.analyzeNamedQuery('x', [])).rejects.toThrow('The server refused: no such table');
  });
});

describe('questions', () => {
  const start = (name: 'connecting' | 'connected') => {
    const state = new StateSource<ConnectionState>({name});
    const sent: Question[] = [];
    return {state, sent, questions: new Questions(state, json => void sent.push(JSON.parse(json) as Question))};
  };

  test('wait for the connection, and are told apart by their ids', async () => {
    const {state, sent, questions} = start('connecting');
    const first = questions.ask({op: 'version'});
    const second = questions.ask({op: 'metrics'});
    await Promise.resolve();
    expect(sent).toEqual([]);
    state.set({name: 'connected'});
    await vi.waitFor(() => expect(sent).toHaveLength(2), {timeout: 60_000});
    questions.answered(sent[1]!.id, 'metrics', '{}');
    questions.answered(sent[0]!.id, 'version', '"1"');
    questions.answered('unknown', 'version', '"2"');
    expect(await first).toEqual({op: 'version', value: '1'});
    expect(await second).toEqual({op: 'metrics', value: {}});
  });

  test('fail with the connection', async () => {
    const {state, sent, questions} = start('connected');
    const asked = questions.ask({op: 'version'});
    await vi.waitFor(() => expect(sent).toHaveLength(1), {timeout: 60_000});
    state.set({name: 'disconnected', reason: 'offline'});
    await expect(asked).rejects.toThrow(LandfallError);
    await expect(questions.ask({op: 'version'})).rejects.toThrow('the connection is disconnected');
  });
});
