import {messageOf} from '../landfall-error.js';

/** A mutation came before one that the server has not seen. */
export class OutOfOrderMutation extends Error {
  override readonly name = 'OutOfOrderMutation';
  readonly clientID: string;
  readonly receivedMutationID: number;
  readonly lastMutationID: number;

  constructor(clientID: string, receivedMutationID: number, expectedMutationID: number) {
    super(`Client ${clientID} sent mutation ID ${receivedMutationID} but expected ${expectedMutationID}`);
    this.clientID = clientID;
    this.receivedMutationID = receivedMutationID;
    this.lastMutationID = expectedMutationID - 1;
  }
}

/** A mutation came again after the server had run it. */
export class MutationAlreadyProcessed extends Error {
  override readonly name = 'MutationAlreadyProcessed';

  constructor(clientID: string, receivedMutationID: number, expectedMutationID: number) {
    super(
      `Ignoring mutation from ${clientID} with ID ${receivedMutationID} as it was already processed. Expected: ${expectedMutationID}`,
    );
  }
}

/** The database could not be asked, or its answer was lost; the mutation may be sent again. */
export class DatabaseError extends Error {
  override readonly name = 'DatabaseError';

  constructor(cause: unknown) {
    super(`The database is not available: ${messageOf(cause)}`, {cause});
  }
}

// Classes of SQLSTATE: the connection is gone, resources ran out, the server stops, or two transactions collided.
const TRANSIENT_SQLSTATE = /^(08...|40001|40P01|53...|57P0[1-3])$/;
const LOST_CONNECTION = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'ENOTFOUND',
  'EAI_AGAIN',
  'CONNECTION_CLOSED',
  'CONNECTION_ENDED',
  'CONNECTION_DESTROYED',
  'CONNECT_TIMEOUT',
]);

/**
 * Whether the same transaction may well succeed when it is run again.
 *
 * While a mutator runs, a broken connection may be one to another service than the database: then only what
 * Postgres itself says counts.
 */
export function isTransient(error: unknown, inMutator: boolean): boolean {
  for (let e = error, depth = 0; e instanceof Error && depth < 5; e = e.cause, depth++) {
    const {code} = e as {code?: unknown};
    if (typeof code === 'string' && (TRANSIENT_SQLSTATE.test(code) || (!inMutator && LOST_CONNECTION.has(code)))) {
      return true;
    }
    // The driver pg reports a lost connection without a code.
    if (/^Connection terminated/.test(e.message)) {
      return true;
    }
  }
  return false;
}
