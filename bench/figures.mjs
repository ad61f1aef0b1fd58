// From the page's answer to medians, ratios and tables.

const median = sorted => (sorted.length % 2 ? sorted[(sorted.length - 1) / 2] : (sorted[sorted.length / 2 - 1] + sorted[sorted.length / 2]) / 2);

/** By case and engine: median, min and max in ms. */
export function summarize(answer) {
  const summary = {};
  for (const [engine, { figures }] of Object.entries(answer)) {
    const byName = Map.groupBy ? Map.groupBy(figures, ({ name }) => name) : groupBy(figures, ({ name }) => name);
    for (const [name, list] of byName) {
      const sorted = list.map(({ ms }) => ms).sort((a, b) => a - b);
      (summary[name] ??= {})[engine] = { median: median(sorted), min: sorted[0], max: sorted.at(-1), count: sorted.length };
    }
  }
  return summary;
}

function groupBy(list, keyOf) {
  const groups = new Map();
  for (const item of list) {
    const key = keyOf(item);
    groups.set(key, [...(groups.get(key) ?? []), item]);
  }
  return groups;
}

/** How much longer each peer takes than ours, by case. */
export function compare(summary) {
  const ratios = {};
  for (const [name, engines] of Object.entries(summary)) {
    for (const [engine, { median: theirs }] of Object.entries(engines)) {
      if (engine !== 'landfall' && engines.landfall) (ratios[name] ??= {})[engine] = theirs / engines.landfall.median;
    }
  }
  return ratios;
}

/** How many times as long as ours a peer must take. */
export function budgetOf(name) {
  if (/^hydrate\/.*\/first$/.test(name)) return { zero: 5, rindle: 1 };
  if (/^hydrate\/.*\/repeated$/.test(name)) return { zero: 2, rindle: 1 };
  if (name.startsWith('scan/')) return { zero: 1 };
  if (name === 'update of one row') return { zero: 4, rindle: 1 };
  if (name === 'local transactions of 10 rows' || name === 'pokes of 10 rows') return { zero: 4 };
  return {};
}

/** Whether the ratios of a case keep its budget, in words. */
function verdict(name, ratios = {}) {
  const wanted = Object.entries(budgetOf(name)).filter(([engine]) => ratios[engine] !== undefined);
  if (!wanted.length) return '';
  return wanted.map(([engine, least]) => `${engine} ×${least}: ${ratios[engine] >= least ? 'met' : '**missed**'}`).join(', ');
}

const digits = ms => (ms >= 100 ? ms.toFixed(0) : ms >= 10 ? ms.toFixed(1) : ms >= 1 ? ms.toFixed(2) : ms.toFixed(3));

/** Rows of text: case, then for each engine median (min to max), and how many times as long as ours. */
export function table(summary, ratios) {
  const engines = [...new Set(Object.values(summary).flatMap(Object.keys))];
  const rows = [['ms', ...engines]];
  for (const [name, its] of Object.entries(summary)) {
    rows.push([name, ...engines.map(engine => {
      const figure = its[engine];
      if (!figure) return '—';
      const ratio = ratios[name]?.[engine];
      return `${digits(figure.median)} (${digits(figure.min)}–${digits(figure.max)})${ratio ? ` ×${ratio.toFixed(ratio < 10 ? 2 : 0)}` : ''}`;
    })]);
  }
  const widths = rows[0].map((_, i) => Math.max(...rows.map(row => row[i].length)));
  return rows.map(row => row.map((cell, i) => cell.padEnd(widths[i])).join('  ').trimEnd()).join('\n');
}

/** The same as a table in Markdown, with the budgets. */
export function markdown(summary, ratios, memory) {
  const engines = ['landfall', 'zero', 'tanstack', 'rindle'];
  const lines = [
    `| ms | ${engines.join(' | ')} | budget |`,
    `|---|${engines.map(() => '---').join('|')}|---|`,
  ];
  for (const [name, its] of Object.entries(summary)) {
    const cells = engines.map(engine => {
      const figure = its[engine];
      if (!figure) return '—';
      const ratio = ratios[name]?.[engine];
      return `${digits(figure.median)} (${digits(figure.min)}–${digits(figure.max)})${ratio ? ` ×${ratio.toFixed(ratio < 10 ? 2 : 0)}` : ''}`;
    });
    lines.push(`| ${name} | ${cells.join(' | ')} | ${verdict(name, ratios[name])} |`);
  }
  const sums = Object.fromEntries(Object.entries(memory).map(([engine, { heap, wasm }]) => [engine, heap + wasm]));
  if (sums.landfall) {
    const cells = engines.map(engine => (sums[engine]
      ? `${MB(sums[engine])}${engine === 'landfall' ? '' : ` ×${(sums[engine] / sums.landfall).toFixed(2)}`}` : '—'));
    const met = sums.zero && sums.zero / sums.landfall >= 2;
    lines.push(`| memory of the issues, no view (MB, heap and WebAssembly) | ${cells.join(' | ')} | ${sums.zero ? `zero ×2: ${met ? 'met' : '**missed**'}` : ''} |`);
  }
  return lines.join('\n');
}

const MB = bytes => (bytes / 1e6).toFixed(1);

/** Memory by engine, as text. */
export function memoryTable(memory) {
  const ours = memory.landfall && memory.landfall.heap + memory.landfall.wasm;
  return Object.entries(memory).map(([engine, { heap, wasm }]) => {
    const sum = heap + wasm;
    const ratio = ours && engine !== 'landfall' ? ` ×${(sum / ours).toFixed(2)}` : '';
    return `memory, rows and no view: ${engine.padEnd(9)} ${MB(sum).padStart(6)} MB (${MB(heap)} heap, ${MB(wasm)} WebAssembly)${ratio}`;
  }).join('\n');
}

/** Moments at which an engine has shown something else than the first one. */
export function disagreements(answer) {
  const wrong = [];
  const known = new Map();
  for (const [engine, { digests, failure }] of Object.entries(answer)) {
    if (failure) wrong.push(`${engine} failed: ${failure.split('\n')[0]}`);
    for (const [round, moments] of digests.entries()) {
      for (const [moment, digest] of Object.entries(moments)) {
        const first = known.get(moment);
        if (!first) known.set(moment, { engine, digest });
        else if (first.digest !== digest) wrong.push(`${moment}, round ${round + 1}: ${first.engine} ${first.digest}; ${engine} ${digest}`);
      }
    }
  }
  return wrong;
}
