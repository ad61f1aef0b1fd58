/** Calls of the application's own functions. */
import {reportError} from './state-source.js';

/** What `call` gives; if it throws, the page's error handlers hear of it and nobody else. */
export function callBack<T>(call: () => T): T | undefined {
  try {
    return call();
  } catch (error) {
    reportError(error);
    return undefined;
  }
}
