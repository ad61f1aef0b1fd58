/**
 * Decodes the row batch of a flush: columns of bytes become one frozen object per row version.
 * The layout is described byte by byte in `crates/client/FLUSH.md`.
 */
import type {ReadonlyJSONValue} from '../json.js';

/** A row as views show it. */
export type Row = {readonly [column: string]: ReadonlyJSONValue};

/** A table as the core numbers it in flushes. */
export interface TableLayout {
  readonly name: string;
  readonly columns: readonly {readonly name: string; readonly type: string}[];
  readonly primaryKey: readonly string[];
}

const kind = {allNull: 0, number: 1, boolean: 2, string: 3, dictionary: 4, json: 5} as const;
const headerBytes = 16;

/** Calls `keep` with the handle and the object of each row of the batch. */
export function decodeRowBatch(
  layout: readonly TableLayout[],
  batch: Uint8Array,
  keep: (handle: number, row: Row) => void,
): void {
  if (batch.length === 0) {
    return;
  }
  const reader = new BatchReader(batch);
  for (let block = 0; block < reader.blocks; block++) {
    decodeTable(layout, reader, keep);
  }
}

function decodeTable(
  layout: readonly TableLayout[],
  reader: BatchReader,
  keep: (handle: number, row: Row) => void,
): void {
  reader.align(8);
  const table = layout[reader.u32()];
  const count = reader.u32();
  const columnCount = reader.u32();
  reader.u32();
  if (table === undefined || columnCount !== table.columns.length) {
    throw new RangeError('A row batch names a table or a number of columns that the schema does not have.');
  }
  const handles = reader.u32s(count);
  const columns: ReadonlyJSONValue[][] = [];
  for (let c = 0; c < columnCount; c++) {
    columns.push(decodeColumn(reader, count));
  }
  const names = table.columns.map(column => column.name);
  for (let i = 0; i < count; i++) {
    // The same keys in the same order: all rows of a table share one shape.
    const row: {[column: string]: ReadonlyJSONValue} = {};
    for (let c = 0; c < columnCount; c++) {
      row[names[c]!] = columns[c]![i]!;
    }
    keep(handles[i]!, Object.freeze(row));
  }
}

function decodeColumn(reader: BatchReader, count: number): ReadonlyJSONValue[] {
  reader.align(4);
  const columnKind = reader.u32();
  const hasNulls = reader.u32() === 1;
  const nulls = hasNulls ? reader.u32s((count + 31) >>> 5) : undefined;
  const values = decodeValues(reader, columnKind, count, nulls);
  if (nulls !== undefined) {
    for (let i = 0; i < count; i++) {
      if (isSet(nulls, i)) {
        values[i] = null;
      }
    }
  }
  return values;
}

function decodeValues(
  reader: BatchReader,
  columnKind: number,
  count: number,
  nulls: Uint32Array | undefined,
): ReadonlyJSONValue[] {
  switch (columnKind) {
    case kind.allNull:
      return new Array<null>(count).fill(null);
    case kind.number:
      reader.align(8);
      return Array.from(reader.f64s(count));
    case kind.boolean:
      return decodeBooleans(reader.u32s((count + 31) >>> 5), count);
    case kind.string:
      return reader.strings(count);
    case kind.dictionary:
      return decodeDictionary(reader, count);
    case kind.json:
      return reader.strings(count).map((text, i) => (nulls !== undefined && isSet(nulls, i) ? null : parseFrozen(text)));
    default:
      throw new RangeError(`A row batch has a column of the unknown kind ${columnKind}.`);
  }
}

function decodeBooleans(bits: Uint32Array, count: number): boolean[] {
  const values = new Array<boolean>(count);
  for (let i = 0; i < count; i++) {
    values[i] = isSet(bits, i);
  }
  return values;
}

function decodeDictionary(reader: BatchReader, count: number): string[] {
  const words = reader.strings(reader.u32());
  const indices = reader.u32s(count);
  const values = new Array<string>(count);
  for (let i = 0; i < count; i++) {
    values[i] = words[indices[i]!]!;
  }
  return values;
}

function isSet(bits: Uint32Array, i: number): boolean {
  return ((bits[i >>> 5]! >>> (i & 31)) & 1) === 1;
}

function parseFrozen(text: string): ReadonlyJSONValue {
  return deepFreeze(JSON.parse(text) as ReadonlyJSONValue);
}

function deepFreeze(value: ReadonlyJSONValue): ReadonlyJSONValue {
  if (typeof value === 'object' && value !== null) {
    for (const member of Object.values(value)) {
      deepFreeze(member as ReadonlyJSONValue);
    }
    Object.freeze(value);
  }
  return value;
}

class BatchReader {
  readonly blocks: number;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #text: string;
  #position = headerBytes;
  // In UTF-16 code units, as `substring` counts.
  #textPosition = 0;

  constructor(batch: Uint8Array) {
    // Numbers are read in place, which needs an address that divides by 8.
    this.#bytes = batch.byteOffset % 8 === 0 ? batch : batch.slice();
    this.#view = new DataView(this.#bytes.buffer, this.#bytes.byteOffset, this.#bytes.byteLength);
    this.blocks = this.#view.getUint32(0, true);
    const textOffset = this.#view.getUint32(4, true);
    const textLength = this.#view.getUint32(8, true);
    const text = this.#bytes.subarray(textOffset, textOffset + textLength);
    this.#text = new TextDecoder('utf-8', {ignoreBOM: true}).decode(text);
  }

  align(bytes: 4 | 8): void {
    this.#position = (this.#position + bytes - 1) & -bytes;
  }

  u32(): number {
    const value = this.#view.getUint32(this.#position, true);
    this.#position += 4;
    return value;
  }

  u32s(count: number): Uint32Array {
    const values = new Uint32Array(this.#bytes.buffer, this.#bytes.byteOffset + this.#position, count);
    this.#position += 4 * count;
    return values;
  }

  f64s(count: number): Float64Array {
    const values = new Float64Array(this.#bytes.buffer, this.#bytes.byteOffset + this.#position, count);
    this.#position += 8 * count;
    return values;
  }

  /** `count` lengths, then as many strings out of the text block. */
  strings(count: number): string[] {
    const lengths = this.u32s(count);
    const values = new Array<string>(count);
    let position = this.#textPosition;
    for (let i = 0; i < count; i++) {
      const end = position + lengths[i]!;
      values[i] = this.#text.substring(position, end);
      position = end;
    }
    this.#textPosition = position;
    return values;
  }
}
