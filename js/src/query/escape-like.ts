/**
 * Makes text match itself in a `LIKE` or `ILIKE` pattern, by putting a backslash before `%` and `_`.
 *
 * ```ts
 * query.where('title', 'ILIKE', `%${escapeLike(search)}%`)
 * ```
 */
export function escapeLike(text: string): string {
  return text.replace(/[%_]/g, '\\$&');
}
