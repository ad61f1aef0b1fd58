import type {ColumnKind} from './column-kind.js';
import {arrayLiteral, type ArrayElement} from './parameters.js';
import type {ServerColumn} from './server-schema.js';

/** A value does not fit the column that it is meant for. */
export class ColumnValueError extends TypeError {
  override readonly name = 'ColumnValueError';
}

/** Turns a client value into the text that Postgres reads for a column; null and undefined become NULL. */
export function toPostgresText(value: unknown, column: ServerColumn): string | null {
  if (value === null || value === undefined) {
    return null;
  }
  if (!column.isArray) {
    return scalarText(value, column.kind, column.label);
  }
  if (!Array.isArray(value)) {
    throw mismatch(value, column.label, 'an array');
  }
  return arrayLiteral(value.map(element => arrayElement(element, column)));
}

function arrayElement(value: unknown, column: ServerColumn): ArrayElement {
  if (value === null || value === undefined) {
    return null;
  }
  // An element of a json array may itself be an array; only the other types have further dimensions.
  if (Array.isArray(value) && column.kind !== 'json') {
    return value.map(element => arrayElement(element, column));
  }
  return scalarText(value, column.kind, column.label);
}

function scalarText(value: unknown, kind: ColumnKind, label: string): string {
  switch (kind) {
    case 'integer':
    case 'bigint':
    case 'real':
    case 'double':
    case 'numeric':
      return String(finite(value, label));
    // Postgres drops what a type does not hold: the zone for a timestamp, the time of day for a date.
    case 'date':
    case 'timestamp':
    case 'timestamptz':
      return timestampText(finite(value, label), label);
    case 'time':
      return timeText(finite(value, label), label);
    case 'timetz':
      return `${timeText(finite(value, label), label)}+00`;
    case 'boolean':
      if (typeof value !== 'boolean') {
        throw mismatch(value, label, 'a boolean');
      }
      return String(value);
    case 'json':
      return JSON.stringify(value);
    case 'text':
    case 'character':
    case 'uuid':
    case 'enum':
    case 'inet':
    case 'named-text':
      if (typeof value !== 'string') {
        throw mismatch(value, label, 'a string');
      }
      return value;
  }
}

function finite(value: unknown, label: string): number {
  if (typeof value !== 'number' || !Number.isFinite(value)) {
    throw mismatch(value, label, 'a finite number');
  }
  return value;
}

function mismatch(value: unknown, label: string, expected: string): ColumnValueError {
  const found = Array.isArray(value) ? 'an array' : typeof value === 'number' ? String(value) : `a ${typeof value}`;
  return new ColumnValueError(`${label} takes ${expected}, not ${found}`);
}

const FIRST_MILLISECOND = -210_866_803_200_000;
/** The last day that a JavaScript date can show; Postgres goes on a little further. */
const LAST_MILLISECOND = 8_640_000_000_000_000;

/** Whether milliseconds since 1970 are a moment that Postgres can hold. */
export function isTimestamp(ms: number): boolean {
  return ms >= FIRST_MILLISECOND && ms <= LAST_MILLISECOND;
}

/** Writes milliseconds since 1970 as a UTC timestamp with its microseconds. */
export function timestampText(ms: number, label: string): string {
  if (!isTimestamp(ms)) {
    throw new ColumnValueError(`${label} cannot hold the moment ${ms}`);
  }
  const {whole, micros} = splitMicroseconds(ms);
  const date = new Date(whole);
  const year = date.getUTCFullYear();
  const day = [
    String(year > 0 ? year : 1 - year).padStart(4, '0'),
    pad2(date.getUTCMonth() + 1),
    pad2(date.getUTCDate()),
  ].join('-');
  return `${day} ${clock(date, micros)}+00${year > 0 ? '' : ' BC'}`;
}

const DAY_MS = 86_400_000;

/** Writes milliseconds since midnight as a time of day. */
function timeText(ms: number, label: string): string {
  if (ms < 0 || ms > DAY_MS) {
    throw new ColumnValueError(`${label} takes milliseconds since midnight, not ${ms}`);
  }
  if (ms === DAY_MS) {
    return '24:00:00';
  }
  const {whole, micros} = splitMicroseconds(ms);
  return clock(new Date(whole), micros);
}

function splitMicroseconds(ms: number): {whole: number; micros: number} {
  let whole = Math.floor(ms);
  let micros = Math.round((ms - whole) * 1000);
  if (micros === 1000) {
    whole += 1;
    micros = 0;
  }
  return {whole, micros};
}

function clock(date: Date, micros: number): string {
  const seconds = `${pad2(date.getUTCSeconds())}.${pad(date.getUTCMilliseconds(), 3)}${pad(micros, 3)}`;
  return `${pad2(date.getUTCHours())}:${pad2(date.getUTCMinutes())}:${seconds}`;
}

function pad2(n: number): string {
  return pad(n, 2);
}

function pad(n: number, width: number): string {
  return String(n).padStart(width, '0');
}
