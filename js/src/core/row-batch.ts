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

const kind = {allNull: 0, number: 1, boolean: 2, string: 3, dictionary: 4, json: 5, integer: 6} as const;
const headerWords = 4;
// A string that is cut out of a decoded text keeps that text alive: longer texts are decoded in pieces.
const textPieceBytes = 32 * 1024;
const utf8 = new TextDecoder('utf-8', {ignoreBOM: true});

/** Makes the row objects of a batch and puts each at its handle. */
export function decodeRowBatch(layout: readonly TableLayout[], batch: Uint8Array, rows: (Row | undefined)[]): void {
  if (batch.length === 0) {
    return;
  }
  const reader = new BatchReader(batch);
  for (let block = 0; block < reader.blocks; block++) {
    decodeTable(layout, reader, rows);
  }
}

// Numbers without nulls are taken where they lie.
type Column = {readonly [i: number]: ReadonlyJSONValue};

function decodeTable(layout: readonly TableLayout[], reader: BatchReader, rows: (Row | undefined)[]): void {
  reader.align8();
  const table = layout[reader.u32()];
  const count = reader.u32();
  const columnCount = reader.u32();
  reader.u32();
  if (table === undefined || columnCount !== table.columns.length) {
    throw new RangeError('A row batch names a table or a number of columns that the schema does not have.');
  }
  const handles = reader.u32s(count);
  const columns: Column[] = [];
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
    const handle = handles[i]!;
    // An array that is written far behind its end would become a map.
    while (rows.length < handle) {
      rows.push(undefined);
    }
    rows[handle] = Object.freeze(row);
  }
}

function decodeColumn(reader: BatchReader, count: number): Column {
  const columnKind = reader.u32();
  const hasNulls = reader.u32() === 1;
  const nulls = hasNulls ? reader.bits(count) : undefined;
  const column = decodeValues(reader, columnKind, count, nulls);
  if (nulls === undefined) {
    return column;
  }
  const values = new Array<ReadonlyJSONValue>(count);
  for (let i = 0; i < count; i++) {
    values[i] = isSet(nulls, i) ? null : column[i]!;
  }
  return values;
}

function decodeValues(reader: BatchReader, columnKind: number, count: number, nulls: Uint32Array | undefined): Column {
  switch (columnKind) {
    case kind.allNull:
      return new Array<null>(count).fill(null);
    case kind.number:
      return reader.numbers(count);
    case kind.integer:
      return reader.integers(count);
    case kind.boolean:
      return decodeBooleans(reader.bits(count), count);
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
  readonly #words: Uint32Array;
  readonly #signed: Int32Array;
  readonly #doubles: Float64Array;
  readonly #text: Uint8Array;
  // The whole text, if it is short.
  readonly #decoded: string | undefined;
  #word = headerWords;
  // In bytes; and in the UTF-16 code units of `#decoded`.
  #textPosition = 0;
  #decodedPosition = 0;

  constructor(batch: Uint8Array) {
    // Numbers are read in place, which needs an address that divides by 8.
    const bytes = batch.byteOffset % 8 === 0 ? batch : batch.slice();
    const {buffer, byteOffset, byteLength} = bytes;
    this.#words = new Uint32Array(buffer, byteOffset, byteLength >>> 2);
    this.#signed = new Int32Array(buffer, byteOffset, byteLength >>> 2);
    this.#doubles = new Float64Array(buffer, byteOffset, byteLength >>> 3);
    const [blocks, textOffset, textLength] = this.#words as unknown as [number, number, number];
    this.blocks = blocks;
    this.#text = bytes.subarray(textOffset, textOffset + textLength);
    this.#decoded = textLength <= textPieceBytes ? decodeShort(this.#text) : undefined;
  }

  align8(): void {
    this.#word += this.#word & 1;
  }

  u32(): number {
    const word = this.#words[this.#word++];
    if (word === undefined) {
      throw new RangeError('A row batch ends in the middle.');
    }
    return word;
  }

  u32s(count: number): Uint32Array {
    const start = this.#skip(count);
    return this.#words.subarray(start, start + count);
  }

  /** One bit for each of `count` rows. */
  bits(count: number): Uint32Array {
    return this.u32s((count + 31) >>> 5);
  }

  numbers(count: number): Float64Array {
    this.align8();
    const start = this.#skip(2 * count) >>> 1;
    return this.#doubles.subarray(start, start + count);
  }

  integers(count: number): Int32Array {
    const start = this.#skip(count);
    return this.#signed.subarray(start, start + count);
  }

  /** The length of the strings in bytes, `count` lengths, and as many strings out of the text block. */
  strings(count: number): string[] {
    const bytes = this.u32();
    const lengths = this.u32s(count);
    const start = this.#textPosition;
    this.#textPosition += bytes;
    if (this.#decoded !== undefined) {
      const values = new Array<string>(count);
      this.#decodedPosition = cut(this.#decoded, this.#decodedPosition, lengths, 0, count, values);
      return values;
    }
    return decodeInPieces(this.#text.subarray(start, start + bytes), lengths);
  }

  // Steps over words; returns where they begin.
  #skip(words: number): number {
    const start = this.#word;
    this.#word += words;
    if (this.#word > this.#words.length) {
      throw new RangeError('A row batch ends in the middle.');
    }
    return start;
  }
}

// Below this length the call into the decoder costs more than the decoding.
const shortTextBytes = 256;

function decodeShort(text: Uint8Array): string {
  const isPlain = text.length <= shortTextBytes && text.every(byte => byte < 0x80);
  return isPlain ? String.fromCharCode.apply(null, text as unknown as number[]) : utf8.decode(text);
}

// Cuts strings out of a text; returns where the last one ends.
function cut(text: string, start: number, lengths: Uint32Array, from: number, to: number, values: string[]): number {
  let position = start;
  for (let i = from; i < to; i++) {
    const end = position + lengths[i]!;
    values[i] = text.substring(position, end);
    position = end;
  }
  return position;
}

function decodeInPieces(text: Uint8Array, lengths: Uint32Array): string[] {
  const count = lengths.length;
  const values = new Array<string>(count);
  let units = 0;
  for (let i = 0; i < count; i++) {
    units += lengths[i]!;
  }
  // Only where every character is one byte do the lengths say where a piece ends.
  const pieceUnits = units === text.length ? textPieceBytes : Infinity;
  let from = 0;
  let start = 0;
  while (from < count) {
    let to = from;
    let length = 0;
    do {
      length += lengths[to++]!;
    } while (to < count && length + lengths[to]! <= pieceUnits);
    const end = to === count ? text.length : start + length;
    cut(utf8.decode(text.subarray(start, end)), 0, lengths, from, to, values);
    from = to;
    start = end;
  }
  return values;
}
