/** The data that every engine is given: an issue tracker, the same for the same seed. */

export interface Issue {
  readonly id: string;
  readonly title: string;
  readonly description: string;
  readonly status: string;
  readonly priority: number;
  readonly ownerID: string;
  readonly created: number;
  readonly modified: number;
}
export interface Comment {
  readonly id: string;
  readonly issueID: string;
  readonly authorID: string;
  readonly body: string;
  readonly created: number;
}
export interface User {
  readonly id: string;
  readonly name: string;
}
export interface Label {
  readonly id: string;
  readonly name: string;
}
export interface IssueLabel {
  readonly issueID: string;
  readonly labelID: string;
}

export interface Data {
  readonly issue: readonly Issue[];
  readonly comment: readonly Comment[];
  readonly user: readonly User[];
  readonly label: readonly Label[];
  readonly issueLabel: readonly IssueLabel[];
}
export type TableName = keyof Data;
export type AnyRow = {readonly [column: string]: string | number};

export const tableNames: readonly TableName[] = ['user', 'label', 'issue', 'issueLabel', 'comment'];

/** A generator of numbers in [0, 1). */
export type Random = () => number;

export function seeded(seed: number): Random {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

export const below = (random: Random, limit: number): number => Math.floor(random() * limit);
export const pick = <T>(random: Random, list: readonly T[]): T => list[below(random, list.length)]!;

const words = (
  'anchor beacon cargo deck ebb fathom gale harbour inlet jetty keel lantern mast north oar pilot quay rudder sail tide ' +
  'upwind vessel wharf yard buoy current drift estuary fog gangway hull island knot ledge moor navigate overboard port'
).split(' ');
export const statuses = ['open', 'started', 'review', 'closed', 'rejected'] as const;

export function sentence(random: Random, count: number): string {
  let text = pick(random, words);
  for (let i = 1; i < count; i++) {
    text += ` ${pick(random, words)}`;
  }
  return text;
}

const key = (prefix: string, n: number) => `${prefix}${String(n).padStart(7, '0')}`;
export const issueID = (n: number): string => key('i', n);
export const userID = (n: number): string => key('u', n);

const userCount = 1000;
const labelCount = 50;
const year = 365 * 24 * 3600 * 1000;
/** All times of the data lie in the year before this one. */
export const present = 1_760_000_000_000;

export function generate(issueCount: number): Data {
  const random = seeded(20_261_121);
  const time = () => present - below(random, year);
  const user = Array.from({length: userCount}, (_, n) => ({id: userID(n), name: sentence(random, 2)}));
  const label = Array.from({length: labelCount}, (_, n) => ({id: key('l', n), name: `${words[n % words.length]}-${n}`}));
  const issue: Issue[] = [];
  const issueLabel: IssueLabel[] = [];
  for (let n = 0; n < issueCount; n++) {
    const created = time();
    issue.push({
      id: issueID(n),
      title: sentence(random, 5),
      description: sentence(random, 9),
      status: pick(random, statuses),
      priority: below(random, 5),
      ownerID: userID(below(random, userCount)),
      created,
      modified: created + below(random, present - created),
    });
    const first = below(random, labelCount);
    for (let i = below(random, 4); i > 0; i--) {
      issueLabel.push({issueID: issueID(n), labelID: key('l', (first + i * 7) % labelCount)});
    }
  }
  const comment = Array.from({length: issueCount * 3}, (_, n) => ({
    id: key('c', n),
    issueID: issueID(below(random, issueCount)),
    authorID: userID(below(random, userCount)),
    body: sentence(random, 6),
    created: time(),
  }));
  return {issue, comment, user, label, issueLabel};
}
