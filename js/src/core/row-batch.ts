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
const headerWords = 4;
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
  for (let block = 0; block < reader.blocks; block++) {
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
  const blank = blankRow(table);
  for (let i = 0; i < count; i++) {
    const row = {...blank};
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

const blanks = new WeakMap<TableLayout, {[column: string]: Value}>();

// Its copies share one shape, with room for all columns from the start. Names may be any, so only JSON makes it right.
function blankRow(table: TableLayout): {[column: string]: Value} {
  let blank = blanks.get(table);
  if (blank === undefined) {
    blank = JSON.parse(`{${table.columns.map(({name}) => `${JSON.stringify(name)}:null`).join()}}`) as {[column: string]: Value};
    blanks.set(table, blank);
  }
  return blank;
}

function decodeColumn(reader: BatchReader, count: number): Column {
  const columnKind = reader.u32();
  if (columnKind === kind.allNull) {
    return new Array<null>(count).fill(null);
  }
  const column = decodeValues(reader, columnKind, count);
  if (reader.u32() === 0) {
    return column;
  }
  const nulls = reader.u32s((count + 31) >>> 5);
  const values = new Array<Value>(count);
  for (let i = 0; i < count; i++) {
    values[i] = isSet(nulls, i) ? null : column[i]!;
  }
  return values;
}

function decodeValues(reader: BatchReader, columnKind: number, count: number): Column {
  switch (columnKind) {
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
      // NULL has no text.
      return reader.strings(count).map(text => (text === '' ? null : parseFrozen(text)));
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
  readonly #texts: TextPieces;
  // The index of the next word.
  #word: number;
  readonly blocks: number;

  constructor(memory: Memory, {words, wordCount, text, textLength}: RowBatchPlace) {
    if ((words & 7) !== 0) {
      throw new RangeError('A row batch lies at an odd address.');
    }
    this.#memory = memory;
    const all = memory.words;
    const start = words >>> 2;
    const pieces = wordCount < headerWords ? Infinity : all[start + 1]!;
    this.#word = start + headerWords;
    this.#end = start + wordCount - pieces;
    if (this.#end < this.#word) {
      throw outOfWords();
    }
    this.blocks = all[start]!;
    this.#texts = new TextPieces(memory.bytes.subarray(text, text + textLength), part(all, this.#end, pieces), all[start + 2] === 1);
  }

  /** Eight bytes are read at once only where they stand at an even word. */
  align(): void {
    this.#word += this.#word & 1;
  }

  u32(): number {
    return this.#memory.words[this.#skip(1)]!;
  }

  // Steps over words; returns where they begin.
  #skip(count: number): number {
    const start = this.#word;
    this.#word += count;
    if (this.#word > this.#end) {
      throw outOfWords();
    }
    return start;
  }

  u32s(count: number): Numbers {
    return part(this.#memory.words, this.#skip(count), count);
  }

  numbers(count: number): Numbers {
    this.align();
    return part(this.#memory.doubles, this.#skip(2 * count) >>> 1, count);
  }

  integers(count: number): Numbers {
    return part(this.#memory.integers, this.#skip(count), count);
  }

  strings(count: number): readonly string[] {
    return this.#texts.strings(count);
  }
}

function outOfWords(): RangeError {
  return new RangeError('A row batch ends in the middle.');
}

/** The strings of a batch, in pieces of text. */
class TextPieces {
  readonly #bytes: Uint8Array;
  readonly #lengths: Numbers;
  readonly #areJSON: boolean;
  #piece = 0;
  #start = 0;
  // The strings of the piece before, and how many of them were taken.
  #strings: readonly string[] = [];
  #taken = 0;

  constructor(bytes: Uint8Array, lengths: Numbers, areJSON: boolean) {
    this.#bytes = bytes;
    this.#lengths = lengths;
    this.#areJSON = areJSON;
  }

  /** The next strings. */
  strings(count: number): readonly string[] {
    const parts: (readonly string[])[] = [];
    for (let missing = count; missing > 0; ) {
      if (this.#taken === this.#strings.length) {
        this.#strings = this.#next();
        this.#taken = 0;
      }
      const end = this.#taken + missing;
      const part = this.#taken === 0 && end >= this.#strings.length ? this.#strings : this.#strings.slice(this.#taken, end);
      this.#taken += part.length;
      missing -= part.length;
      parts.push(part);
    }
    return parts.length === 1 ? parts[0]! : parts.flat();
  }

  // What runs for the first time runs in the interpreter: so the browser's own code takes a text apart, not a loop.
  #next(): readonly string[] {
    if (this.#piece === this.#lengths.length) {
      throw new RangeError('A row batch has fewer strings than its columns name.');
    }
    const end = this.#start + this.#lengths[this.#piece++]!;
    // Without what ends the last one.
    const text = decodeText(this.#bytes, this.#start, end - 1);
    this.#start = end;
    return this.#areJSON ? (JSON.parse(`[${text}]`) as string[]) : text.split('\0');
  }
}

// Below this length the call into the decoder costs more than the decoding.
const shortTextBytes = 256;

function decodeText(bytes: Uint8Array, start: number, end: number): string {
  if (end - start <= shortTextBytes) {
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
