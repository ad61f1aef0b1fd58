/** Quotes an SQL identifier. */
export function quoteIdentifier(name: string): string {
  if (name.includes('\0')) {
    throw new Error('A name in SQL may not contain the character U+0000');
  }
  return `"${name.replaceAll('"', '""')}"`;
}

/** Quotes a name with its schema in front. */
export function quoteQualified(schema: string, name: string): string {
  return `${quoteIdentifier(schema)}.${quoteIdentifier(name)}`;
}
