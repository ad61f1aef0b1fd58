/** Fresh randomness, and the ids made of it. */
export function randomBytes(length: number): Uint8Array {
  return crypto.getRandomValues(new Uint8Array(length));
}

// 18 characters of base 32: 90 random bits.
export function newClientID(): string {
  return Array.from(randomBytes(18), byte => (byte & 31).toString(32)).join('');
}
