// The seeded rows: always the same ones, whatever they are loaded into.
import { RANKS } from '../shared/mutators.ts';
import type { Environment, Priority } from '../shared/schema.ts';
import { GUEST } from '../shared/user.ts';
import { Random } from './random.ts';
import * as words from './words.ts';

export type Row = Readonly<Record<string, string | number | boolean | null | Environment>>;
export type Tables = Readonly<Record<'user' | 'label' | 'issue' | 'issueLabel' | 'comment', readonly Row[]>>;

const USERS = 100;
const ISSUES = 12_000;
const COMMENTS_PER_ISSUE = 3;

const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;
const NEWEST = Date.UTC(2025, 5, 30, 16);
const SPAN = 900 * DAY;

export function makeTables(): Tables {
  const random = new Random(20_250_630);
  const user = makeUsers();
  const people = user.slice(1).map(({ id }) => id as string);
  const label: Row[] = words.LABELS.map(([id, name, color]) => ({ id, name, color }));
  const issue: Row[] = [];
  const issueLabel: Row[] = [];
  const comment: Row[] = [];
  const taken = new Set<string>();
  for (let n = 1; n <= ISSUES; n++) {
    const id = `issue-${String(n).padStart(5, '0')}`;
    // Later issues are closer to each other: the project has grown.
    const created = Math.floor(NEWEST - SPAN * (1 - (n / (ISSUES + 1)) ** 0.6)) - random.between(0, 12) * MINUTE;
    const comments = makeComments(random, id, created, people);
    for (const row of comments) comment.push({ id: `comment-${String(comment.length + 1).padStart(6, '0')}`, ...row });
    const touched = comments.at(-1)?.created ?? created;
    issue.push({ id, ...makeIssue(random, taken, created, touched as number, people) });
    for (const labelID of makeLabels(random)) issueLabel.push({ issueID: id, labelID });
  }
  return { user, label, issue, issueLabel, comment };
}

function makeUsers(): Row[] {
  const users: Row[] = [{ id: GUEST, login: 'guest', name: 'Guest' }];
  for (let n = 0; n < USERS; n++) {
    // 25 first names and 20 last names share no cycle shorter than 100 in these steps.
    const first = words.FIRST_NAMES[n % words.FIRST_NAMES.length]!;
    const last = words.LAST_NAMES[(n * 7 + Math.floor(n / words.FIRST_NAMES.length)) % words.LAST_NAMES.length]!;
    const login = `${first}.${last}`.normalize('NFD').replace(/[^A-Za-z.]/g, '').toLowerCase();
    users.push({ id: `user-${String(n + 1).padStart(3, '0')}`, login, name: `${first} ${last}` });
  }
  return users;
}

function makeIssue(random: Random, taken: Set<string>, created: number, touched: number, people: readonly string[]): Row {
  const priority = random.pick<Priority>(['urgent', 'high', 'high', 'medium', 'medium', 'medium', 'medium', 'low', 'low', 'low']);
  const age = (NEWEST - created) / SPAN;
  return {
    title: makeTitle(random, taken),
    description: makeDescription(random),
    open: !random.chance(0.35 + 0.55 * age),
    priority,
    priorityRank: RANKS[priority],
    creatorID: random.pickSkewed(people),
    assigneeID: random.chance(0.7) ? random.pickSkewed(people) : null,
    environment: random.chance(0.6) ? makeEnvironment(random) : null,
    created,
    modified: Math.max(
      created,
      Math.min(touched + random.between(0, 600) * MINUTE + random.between(0, MINUTE), NEWEST - random.between(0, 2 * DAY)),
    ),
  };
}

/** A title that no other issue has. */
function makeTitle(random: Random, taken: Set<string>): string {
  for (let tries = 0; ; tries++) {
    const part = random.pick(words.PARTS);
    const base = random.chance(0.75)
      ? `${part} ${random.pick(words.PROBLEMS)} ${random.pick(words.OCCASIONS)}`
      : `${random.pick(words.WISHES).replace('{part}', inSentence(part))}${random.chance(0.6) ? `, ${random.pick(words.OCCASIONS)}` : ''}`;
    const title = tries < 4 ? base : `${base} (${random.pick(words.SYSTEMS)}, ${random.pick(words.VERSIONS)})`;
    if (!taken.has(title)) {
      taken.add(title);
      return title;
    }
  }
}

function makeDescription(random: Random): string {
  const chosen = new Set(Array.from({ length: random.between(2, 4) }, () => random.pick(words.STEPS)));
  const steps = [...chosen].map((step, i) => `${i + 1}. ${step}`);
  return [random.pick(words.OPENINGS), steps.join('\n'), random.pick(words.OUTCOMES)].join('\n\n');
}

function makeEnvironment(random: Random): Environment {
  const base = { os: random.pick(words.SYSTEMS), version: random.pick(words.VERSIONS) };
  return random.chance(0.4) ? { ...base, browser: random.pick(words.BROWSERS) } : base;
}

function makeLabels(random: Random): Set<string> {
  const count = random.pick([0, 1, 1, 1, 2, 2, 3]);
  return new Set(Array.from({ length: count }, () => random.pickSkewed(words.LABELS)[0]));
}

function makeComments(random: Random, issueID: string, created: number, people: readonly string[]): Row[] {
  let time = created;
  return Array.from({ length: random.between(0, 2 * COMMENTS_PER_ISSUE) }, () => {
    time += Math.floor(random.next() ** 3 * 6 * DAY) + random.between(1, 90) * MINUTE;
    const remarks = new Set(Array.from({ length: random.pick([1, 1, 1, 2, 2, 3]) }, () => makeRemark(random)));
    return { issueID, authorID: random.pickSkewed(people), body: [...remarks].join(' '), created: Math.min(time, NEWEST) };
  });
}

function makeRemark(random: Random): string {
  return random.pick(words.REMARKS)
    .replace('{version}', random.pick(words.VERSIONS))
    .replace('{os}', random.pick(words.SYSTEMS))
    .replace('{part}', inSentence(random.pick(words.PARTS)));
}

/** Abbreviations keep their capitals. */
function inSentence(part: string): string {
  return /^[A-Z]{2}/.test(part) ? part : part.charAt(0).toLowerCase() + part.slice(1);
}
