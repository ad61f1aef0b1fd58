/** `globalThis.__zero`: the client of the page, for whoever looks at it with the browser's tools; several by their ids. */
import type {Zero} from '../zero.js';

type AnyZero = Zero<any, any, any>;
type Place = {__zero?: AnyZero | Map<string, AnyZero> | undefined};

const place = globalThis as Place;

export function showGlobally(zero: AnyZero): void {
  const {__zero: shown} = place;
  if (shown === undefined) {
    place.__zero = zero;
  } else if (shown instanceof Map) {
    shown.set(zero.clientID, zero);
  } else {
    place.__zero = new Map([shown, zero].map(one => [one.clientID, one]));
  }
}

export function hideGlobally(zero: AnyZero): void {
  const {__zero: shown} = place;
  if (shown === zero) {
    delete place.__zero;
  } else if (shown instanceof Map) {
    // By identity: a client that began anew has another id.
    for (const [id, one] of shown) {
      if (one === zero) {
        shown.delete(id);
      }
    }
    const [last] = shown.values();
    if (shown.size <= 1) {
      place.__zero = last;
    }
  }
}
