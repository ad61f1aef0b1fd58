// How the tracker's values are shown.
import type { Priority, Sort } from '../shared/queries.ts';

export const PRIORITIES: readonly { value: Priority; word: string; sign: string }[] = [
  { value: 'urgent', word: 'Urgent', sign: '!!' },
  { value: 'high', word: 'High', sign: '▲' },
  { value: 'medium', word: 'Medium', sign: '◆' },
  { value: 'low', word: 'Low', sign: '▽' },
];

export const SORTS: readonly { value: Sort; word: string }[] = [
  { value: 'modified', word: 'Last changed' },
  { value: 'created', word: 'Newest' },
  { value: 'priority', word: 'Priority' },
  { value: 'title', word: 'Title' },
];

const date = new Intl.DateTimeFormat(undefined, { year: 'numeric', month: 'short', day: 'numeric' });
const moment = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'short' });
const relative = new Intl.RelativeTimeFormat(undefined, { numeric: 'auto', style: 'narrow' });

/** "just now", "3 hr. ago" within a week, else the date. */
export function when(time: number, now = Date.now()): string {
  const minutes = Math.round((time - now) / 60_000);
  if (minutes === 0) return 'just now';
  if (Math.abs(minutes) < 60) return relative.format(minutes, 'minute');
  if (Math.abs(minutes) < 24 * 60) return relative.format(Math.round(minutes / 60), 'hour');
  if (Math.abs(minutes) < 7 * 24 * 60) return relative.format(Math.round(minutes / (24 * 60)), 'day');
  return date.format(time);
}

export const exactly = (time: number): string => moment.format(time);
