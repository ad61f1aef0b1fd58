import type {TransactionProviderHooks, TransactionProviderInput} from './database.js';
import type {MutationResponse} from './mutate-response.js';
import {arrayLiteral} from './parameters.js';
import type {CleanupResultsArgs} from './push-request.js';
import {quoteQualified} from './quote.js';

interface SQLRunner {
  query(sql: string, args: unknown[]): Promise<Iterable<{[column: string]: unknown}>>;
}

/** The bookkeeping tables of one shard, seen from one transaction. */
export class MutationBookkeeping implements TransactionProviderHooks {
  readonly #tx: SQLRunner;
  readonly #input: TransactionProviderInput;
  readonly #clients: string;
  readonly #mutations: string;

  constructor(tx: SQLRunner, input: TransactionProviderInput) {
    this.#tx = tx;
    this.#input = input;
    this.#clients = quoteQualified(input.upstreamSchema, 'clients');
    this.#mutations = quoteQualified(input.upstreamSchema, 'mutations');
  }

  /** Locks the client's row until the transaction ends, so that two pushes of one client wait for each other. */
  async updateClientMutationID(): Promise<{lastMutationID: bigint}> {
    const sql = `INSERT INTO ${this.#clients} AS c ("clientGroupID", "clientID", "lastMutationID")
      VALUES ($1::text, $2::text, 1)
      ON CONFLICT ("clientGroupID", "clientID") DO UPDATE SET "lastMutationID" = c."lastMutationID" + 1
      RETURNING "lastMutationID"::text AS "lastMutationID"`;
    const [row] = [...(await this.#tx.query(sql, [this.#input.clientGroupID, this.#input.clientID]))];
    const lastMutationID = row?.['lastMutationID'];
    if (typeof lastMutationID !== 'string') {
      throw new Error('The database did not return the last mutation id');
    }
    return {lastMutationID: BigInt(lastMutationID)};
  }

  async writeMutationResult({id, result}: MutationResponse): Promise<void> {
    const sql = `INSERT INTO ${this.#mutations} ("clientGroupID", "clientID", "mutationID", "result")
      VALUES ($1::text, $2::text, $3::text::int8, $4::text::json)`;
    await this.#tx.query(sql, [this.#input.clientGroupID, id.clientID, String(id.id), JSON.stringify(result)]);
  }

  async deleteMutationResults(args: CleanupResultsArgs): Promise<void> {
    if (args.type === 'single') {
      const sql = `DELETE FROM ${this.#mutations}
        WHERE "clientGroupID" = $1::text AND "clientID" = $2::text AND "mutationID" <= $3::text::int8`;
      await this.#tx.query(sql, [args.clientGroupID, args.clientID, String(args.upToMutationID)]);
    } else {
      const sql = `DELETE FROM ${this.#mutations}
        WHERE "clientGroupID" = $1::text AND "clientID" = ANY($2::text::text[])`;
      await this.#tx.query(sql, [args.clientGroupID, arrayLiteral(args.clientIDs)]);
    }
  }
}

/** Stands in for the bookkeeping in a transaction that belongs to no mutation. */
export const noBookkeeping: TransactionProviderHooks = {
  updateClientMutationID: () => Promise.reject(outsideOfMutation()),
  writeMutationResult: () => Promise.reject(outsideOfMutation()),
  deleteMutationResults: () => Promise.reject(outsideOfMutation()),
};

function outsideOfMutation(): Error {
  return new Error('This transaction belongs to no mutation, so there is nothing to keep books about');
}
