// From the measures of `bench:server` to a table with budgets.

const MB = 1e6;
const budget = (text, met) => ({ text, met });
/** Ours may take at most this part of Zero's. */
const part = share => budget(`at most ${share < 1 ? `1/${Math.round(1 / share)}` : share} of zero's`, (ours, zero) => (zero === undefined ? undefined : ours <= zero * share));
const below = (limit, text) => budget(text, ours => ours < limit);

/** What is shown: the measure, how to read it, and what is wanted of it. */
const ROWS = [
  ['first start, copy of all rows, to 100 rows at a client (ms)', 'start/copy', it => it.ms, part(1 / 2)],
  ['restart, to 100 rows at a client (ms)', 'start/again', it => it.ms, part(1 / 5)],
  ['memory after the copy, idle (MB resident)', 'start/copy', it => it.idle.resident / MB, part(1 / 10)],
  ['… of which no file backs (MB)', 'start/copy', it => it.idle.anonymous / MB],
  ...[1, 100, 1000, 10_000].flatMap(rows => [
    [`hydrate ${rows.toLocaleString('en')} rows, first group that asks (ms)`, `hydrate/${rows}`, it => it.first, part(1 / 3)],
    [`hydrate ${rows.toLocaleString('en')} rows, second group (ms)`, `hydrate/${rows}`, it => it.shared],
  ]),
  ['write to poke, p50 (ms)', 'latency', it => it.latency.p50, part(1 / 2)],
  ['write to poke, p99 (ms)', 'latency', it => it.latency.p99, part(1 / 2)],
  ['one-row transactions, one query watching (1/s)', 'burst', it => it.perSecond, budget("at least 5 × zero's", (ours, zero) => (zero === undefined ? undefined : ours >= zero * 5))],
  ['… written by the database meanwhile (1/s)', 'burst', it => it.databasePerSecond],
  ...[100, 1000, 10_000].flatMap(groups => [1, 20].flatMap(queries => {
    const name = `fanout/${groups}/${queries}`;
    const what = `${groups.toLocaleString('en')} groups, ${queries === 1 ? 'one query' : `${queries} queries`}`;
    const p50 = { 100: below(20, 'under 20'), 1000: below(100, 'under 100') }[groups];
    return [
      [`${what}: p50 (ms)`, name, it => it.latency.p50, queries === 1 ? p50 : undefined],
      [`${what}: p99 (ms)`, name, it => it.latency.p99, groups === 10_000 && queries === 1 ? below(1000, 'under 1,000') : undefined],
      [`${what}: CPU per write (ms)`, name, it => it.cpuPerWrite * 1000, groups === 1000 ? part(1 / 20) : undefined],
      [`${what}: memory per group (KB)`, name, it => it.perGroup / 1000, queries === 1 && groups >= 1000 ? below(50, 'under 50') : undefined],
      [`${what}: connecting all (s)`, name, it => it.connect / 1000],
    ];
  })),
];

const median = list => {
  const sorted = [...list].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
};
const digits = value => (value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2));

function value(figures, server, measure, read) {
  const list = figures[server]?.[measure] ?? [];
  const values = list.filter(it => !it.failure).map(read).filter(it => Number.isFinite(it));
  const late = list.some(it => it.late) ? ' (not all arrived in time)' : '';
  if (values.length) return { number: median(values), text: `${digits(median(values))}${late}` };
  return { text: list.length ? 'failed' : '—' };
}

function lines(figures) {
  return ROWS.flatMap(([label, measure, read, wanted]) => {
    const ours = value(figures, 'landfall', measure, read);
    const zero = value(figures, 'zero', measure, read);
    if (ours.text === '—' && zero.text === '—') return [];
    const ratio = ours.number && zero.number !== undefined ? ` ×${digits(zero.number / ours.number)}` : '';
    const met = wanted && (ours.text === 'failed' ? false : ours.number === undefined ? undefined : wanted.met(ours.number, zero.number));
    return [[label, ours.text, `${zero.text}${ratio}`, wanted ? `${wanted.text}${met === undefined ? '' : met ? ': met' : ': **missed**'}` : '']];
  });
}

/** As text for the terminal. */
export function table(figures) {
  const all = [['', 'landfall', 'zero', 'budget'], ...lines(figures)];
  const widths = all[0].map((_, i) => Math.max(...all.map(row => row[i].length)));
  return all.map(row => row.map((cell, i) => cell.padEnd(widths[i])).join('  ').trimEnd()).join('\n');
}

/** As a table in Markdown. */
export function markdown(figures) {
  return ['| | landfall | zero-cache | budget |', '|---|---|---|---|', ...lines(figures).map(row => `| ${row.join(' | ')} |`)].join('\n');
}
