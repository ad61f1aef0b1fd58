/** A random id that needs no secure context (`crypto.randomUUID` does). */
export function newID(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, byte => byte.toString(36).padStart(2, '0')).join('');
}
