/** Whether a value is a `Request` of the Fetch API, of this realm or another. */
export function isRequest(value: unknown): value is Request {
  const {url, text} = (value ?? {}) as {url?: unknown; text?: unknown};
  return typeof url === 'string' && typeof text === 'function';
}
