// Who acts. The tracker has no login: whoever opens it is the guest, until an application passes a context with a user.

/** The user that is there from the start and that everybody acts as. */
export const GUEST = 'guest';

/** What queries and mutators may be told about the user. */
export type Context = { readonly userID: string };

export function userOf(context: unknown): string {
  const { userID } = (context ?? {}) as Partial<Context>;
  return typeof userID === 'string' && userID !== '' ? userID : GUEST;
}
