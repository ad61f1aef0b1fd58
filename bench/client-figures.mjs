// From the visits of `bench:client` to a table with budgets.

/** What Zero takes at most this part of. */
const part = share => ({ text: `at most 1/${Math.round(1 / share)} of zero's`, met: (ours, zero) => (zero === undefined ? undefined : ours <= zero * share) });
const noTask = { text: 'no task over 50', met: ours => ours <= 50 };

/** Per visit: what is shown, how it is read, what is wanted of it. */
const MEASURES = {
  fill: [
    ['first poke: work on its messages, and from the last one until it is there (ms)', it => it.applied, rows => (rows === 10_000 ? part(1 / 4) : undefined)],
    ['… from the start to the rows, with connection and server (ms)', it => it.total],
    ['… longest task (ms)', it => it.loading.longest, () => noTask],
    ['… longest task while it is stored (ms)', it => it.storing.longest, () => noTask],
  ],
  cold: [
    ['cold start to 50 rows with one related, as the page showed last (ms)', it => it.first, rows => (rows === 100_000 ? part(1 / 10) : undefined)],
    ['… longest task (ms)', it => it.starting.longest, () => noTask],
    ['… longest task while it connects (ms)', it => it.connecting.longest, () => noTask],
    ['five more queries, first time (ms)', it => it.hydrate],
    ['… longest task (ms)', it => it.hydrating.longest, () => noTask],
  ],
  anew: [
    ['cold start to 50 rows with one related that were never shown (ms)', it => it.first],
    ['… longest task (ms)', it => it.starting.longest, () => noTask],
  ],
  writes: [
    ['optimistic update, six queries live, median (ms)', it => it.update],
    ['… slowest (ms)', it => it.updateWorst],
    ['… longest task (ms)', it => it.updates.longest, () => noTask],
    ['one change until it is stored (ms)', it => it.one.durable ?? it.one.quiet],
    ['… values put', it => it.one.puts],
    ['100 changes until they are stored (ms)', it => it.hundred.durable ?? it.hundred.quiet],
    ['… values put', it => it.hundred.puts],
    ['… longest task (ms)', it => it.persisting.longest, () => noTask],
  ],
  rebase: [
    ['poke of 10 rows over 100 pending writes, six queries live, median (ms)', it => it.rebase],
    ['… slowest (ms)', it => it.rebaseWorst],
    ['… longest task (ms)', it => it.rebasing.longest, () => noTask],
  ],
  memory: [['memory, no view (MB, heap and WebAssembly)', it => (it.heap + it.wasm) / 1e6, rows => (rows === 100_000 ? part(1 / 2) : undefined)]],
  raw: [['reading what is stored and nothing else (ms)', it => it.ms]],
};

const median = list => {
  const sorted = [...list].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
};
const digits = value => (value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2));

function lines(figures) {
  const places = new Map();
  for (const { visit, rows, throttle } of figures) places.set(`${visit} ${throttle} ${rows}`, { visit, rows, throttle });
  const order = Object.keys(MEASURES);
  const sorted = [...places.values()].sort((a, b) =>
    a.throttle - b.throttle || order.indexOf(a.visit) - order.indexOf(b.visit) || a.rows - b.rows);
  return sorted.flatMap(({ visit, rows, throttle }) => MEASURES[visit].map(([label, read, wanted]) => {
    const value = client => {
      const its = figures.filter(it => it.client === client && it.visit === visit && it.rows === rows && it.throttle === throttle);
      const values = its.filter(it => it.answer).map(it => read(it.answer)).filter(Number.isFinite);
      return values.length ? { number: median(values), text: digits(median(values)) } : { text: its.length ? 'failed' : '—' };
    };
    const [ours, zero] = [value('landfall'), value('zero')];
    const ratio = ours.number && zero.number !== undefined ? ` ×${digits(zero.number / ours.number)}` : '';
    const budget = wanted?.(rows);
    const met = budget && ours.number !== undefined ? budget.met(ours.number, zero.number) : undefined;
    const verdict = budget ? `${budget.text}${met === undefined ? '' : met ? ': met' : ': **missed**'}` : '';
    return [`${label}, ${rows.toLocaleString('en')} rows${throttle > 1 ? `, CPU / ${throttle}` : ''}`, ours.text, `${zero.text}${ratio}`, verdict];
  }));
}

/** As text for the terminal. */
export function table(figures) {
  const all = [['', 'landfall', 'zero', 'budget'], ...lines(figures)];
  const widths = all[0].map((_, i) => Math.max(...all.map(row => row[i].length)));
  return all.map(row => row.map((cell, i) => cell.padEnd(widths[i])).join('  ').trimEnd()).join('\n');
}

/** As a table in Markdown. */
export function markdown(figures) {
  return ['| | landfall | zero | budget |', '|---|---|---|---|', ...lines(figures).map(row => `| ${row.join(' | ')} |`)].join('\n');
}
