/**
 * Decodes the row batch of a flush: columns of bytes become one frozen object per row version.
 * The layout is described byte by byte in `crates/client/FLUSH.md`.
 */
import type {ReadonlyJSONValue} from '../json.js';
import type {Memory} from './memory.js';

/** A row as views show it. */
export type Row = {readonly [column: string]: ReadonlyJSONValue};

/** A table as the core numbers it in flushes. */
export interface TableLayout {
  readonly name: string;
  readonly columns: readonly {readonly name: string; readonly type: string}[];
  readonly primaryKey: readonly string[];
}

const kind = {allNull: 0, number: 1, boolean: 2, string: 3, dictionary: 4, json: 5, integer: 6} as const;
const headerWords = 2;
// A string that is cut out of a decoded text keeps that text alive: longer texts are decoded in pieces.
const textPieceBytes = 32 * 1024;
const utf8 = new TextDecoder('utf-8', {ignoreBOM: true});

/** Where a row batch lies: address and length of its words, address and length in bytes of its text. */
export interface RowBatchPlace {
  readonly words: number;
  readonly wordCount: number;
  readonly text: number;
  readonly textLength: number;
}

/** Makes the row objects of a batch and puts each at its handle. */
export function decodeRowBatch(
  layout: readonly TableLayout[],
  memory: Memory,
  place: RowBatchPlace,
  rows: (Row | undefined)[],
): void {
  if (place.wordCount === 0) {
    return;
  }
  const reader = new BatchReader(memory, place);
  const blocks = reader.u32();
  reader.skip(headerWords - 1);
  for (let block = 0; block < blocks; block++) {
    decodeTable(layout, reader, rows);
  }
}

type Value = ReadonlyJSONValue;
// Numbers without nulls are taken where they lie.
type Column = ArrayLike<Value>;

function decodeTable(layout: readonly TableLayout[], reader: BatchReader, rows: (Row | undefined)[]): void {
  reader.align();
  const table = layout[reader.u32()];
  const count = reader.u32();
  const columnCount = reader.u32();
  reader.u32();
  if (table === undefined || columnCount !== table.columns.length) {
    throw new RangeError('A row batch names a table or a number of columns that the schema does not have.');
  }
  const handles = reader.u32s(count);
  const columns: Column[] = [];
  const names: string[] = [];
  for (let c = 0; c < columnCount; c++) {
    columns.push(decodeColumn(reader, count));
    names.push(table.columns[c]!.name);
  }
  for (let i = 0; i < count; i++) {
    // The same keys in the same order: all rows of a table share one shape.
    const row: {[column: string]: Value} = {};
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
  const nulls = reader.u32() === 1 ? reader.u32s((count + 31) >>> 5) : undefined;
  const column = decodeValues(reader, columnKind, count, nulls);
  if (nulls === undefined) {
    return column;
  }
  const values = new Array<Value>(count);
  for (let i = 0; i < count; i++) {
    values[i] = isSet(nulls, i) ? null : column[i]!;
  }
  return values;
}

function decodeValues(reader: BatchReader, columnKind: number, count: number, nulls: Numbers | undefined): Column {
  switch (columnKind) {
    case kind.allNull:
      return new Array<null>(count).fill(null);
    case kind.number:
      return reader.numbers(count);
    case kind.integer:
      return reader.integers(count);
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

function decodeBooleans(bits: Numbers, count: number): boolean[] {
  const values = new Array<boolean>(count);
  for (let i = 0; i < count; i++) {
    values[i] = isSet(bits, i);
  }
  return values;
}

function decodeDictionary(reader: BatchReader, count: number): string[] {
  const entries = reader.strings(reader.u32());
  const indices = reader.u32s(count);
  const values = new Array<string>(count);
  for (let i = 0; i < count; i++) {
    values[i] = entries[indices[i]!]!;
  }
  return values;
}

function isSet(bits: Numbers, i: number): boolean {
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

type Numbers = ArrayLike<number>;

// A typed array over a part of memory costs more to make than a few numbers to copy.
function part(all: Uint32Array | Int32Array | Float64Array, start: number, count: number): Numbers {
  if (count > 16) {
    return all.subarray(start, start + count);
  }
  const values: number[] = [];
  for (let i = start; i < start + count; i++) {
    values.push(all[i]!);
  }
  return values;
}

class BatchReader {
  readonly #memory: Memory;
  readonly #end: number;
  readonly #start: number;
  // The index of the next word, and where the next string begins in memory.
  #word: number;
  #text: number;
  // The whole text, if it is short, and how far it is used, in UTF-16 code units.
  readonly #decoded: string | undefined;
  #decodedPosition = 0;

  constructor(memory: Memory, {words, wordCount, text, textLength}: RowBatchPlace) {
    if ((words & 7) !== 0) {
      throw new RangeError('A row batch lies at an odd address.');
    }
    this.#memory = memory;
    this.#start = this.#word = words >>> 2;
    this.#end = this.#start + wordCount;
    this.#text = text;
    this.#decoded = textLength <= textPieceBytes ? decodeShort(memory.bytes, text, textLength) : undefined;
  }

  /** Eight bytes are read at once only where they stand at an even word. */
  align(): void {
    this.#word += this.#word & 1;
  }

  u32(): number {
    return this.#memory.words[this.skip(1)]!;
  }

  /** Steps over words; returns where they begin. */
  skip(count: number): number {
    const start = this.#word;
    this.#word += count;
    if (this.#word > this.#end) {
      throw new RangeError('A row batch ends in the middle.');
    }
    return start;
  }

  u32s(count: number): Numbers {
    return part(this.#memory.words, this.skip(count), count);
  }

  numbers(count: number): Numbers {
    this.align();
    return part(this.#memory.doubles, this.skip(2 * count) >>> 1, count);
  }

  integers(count: number): Numbers {
    return part(this.#memory.integers, this.skip(count), count);
  }

  /** The length of the strings in bytes, `count` lengths, and as many strings out of the text. */
  strings(count: number): string[] {
    const bytes = this.u32();
    const lengths = this.u32s(count);
    const start = this.#text;
    this.#text += bytes;
    const values = new Array<string>(count);
    if (this.#decoded !== undefined) {
      this.#decodedPosition = cut(this.#decoded, this.#decodedPosition, lengths, 0, count, values);
    } else {
      decodeInPieces(this.#memory.bytes.subarray(start, start + bytes), lengths, values);
    }
    return values;
  }
}

// Below this length the call into the decoder costs more than the decoding.
const shortTextBytes = 256;

function decodeShort(bytes: Uint8Array, start: number, length: number): string {
  const end = start + length;
  if (length <= shortTextBytes) {
    const units: number[] = [];
    let at = start;
    while (at < end && bytes[at]! < 0x80) {
      units.push(bytes[at++]!);
    }
    if (at === end) {
      return String.fromCharCode.apply(null, units);
    }
  }
  return utf8.decode(bytes.subarray(start, end));
}

// Cuts strings out of a text; returns where the last one ends.
function cut(text: string, start: number, lengths: Numbers, from: number, to: number, values: string[]): number {
  let position = start;
  for (let i = from; i < to; i++) {
    const end = position + lengths[i]!;
    values[i] = text.substring(position, end);
    position = end;
  }
  return position;
}

function decodeInPieces(text: Uint8Array, lengths: Numbers, values: string[]): void {
  const count = lengths.length;
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
}
