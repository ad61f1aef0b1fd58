/**
 * The bound values of one statement.
 *
 * Every value travels as text and is cast by the statement itself, so no driver gets to guess a type.
 */
export class Parameters {
  readonly #values: (string | null)[] = [];

  /** Binds a value and returns the SQL expression for it, cast to `type` (an SQL type name, already quoted). */
  bind(value: string | null, type: string): string {
    if (value?.includes('\0')) {
      throw new Error('Postgres cannot hold text with the character U+0000');
    }
    this.#values.push(value);
    const placeholder = `$${this.#values.length}::text`;
    return type === 'text' ? placeholder : `${placeholder}::${type}`;
  }

  /** The bound values in order. */
  get values(): (string | null)[] {
    return [...this.#values];
  }
}

/** Writes a one-dimensional Postgres array literal. */
export function arrayLiteral(elements: readonly ArrayElement[]): string {
  return `{${elements.map(arrayElement).join(',')}}`;
}

/** An element of an array literal: text, NULL, or a further dimension. */
export type ArrayElement = string | null | readonly ArrayElement[];

function arrayElement(element: ArrayElement): string {
  if (element === null) {
    return 'NULL';
  }
  if (typeof element === 'string') {
    return `"${element.replace(/["\\]/g, '\\$&')}"`;
  }
  return arrayLiteral(element);
}
