/** What is left to do with rows after `JSON.parse`. */
export interface RowDecoder {
  readonly columns: readonly {readonly name: string; readonly decode: (value: unknown) => unknown}[];
  readonly relationships: readonly {
    readonly name: string;
    readonly decoder: RowDecoder;
    readonly singular: boolean;
  }[];
}

type JSONRow = {[name: string]: unknown};

/** Finishes the parsed result of a query: a list of rows, or one row or undefined when it is singular. */
export function decodeRows(parsed: unknown, decoder: RowDecoder, singular: boolean): unknown {
  if (singular) {
    return parsed === null ? undefined : decodeRow(parsed as JSONRow, decoder);
  }
  const rows = parsed as JSONRow[];
  if (decoder.columns.length > 0 || decoder.relationships.length > 0) {
    for (const row of rows) {
      decodeRow(row, decoder);
    }
  }
  return rows;
}

function decodeRow(row: JSONRow, decoder: RowDecoder): JSONRow {
  for (const {name, decode} of decoder.columns) {
    row[name] = decode(row[name]);
  }
  for (const {name, decoder: child, singular} of decoder.relationships) {
    row[name] = decodeRows(row[name], child, singular);
  }
  return row;
}
