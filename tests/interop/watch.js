// Rows of a query as they are now, and waits for what should become of them.

/** Follows a query of either package's client. */
export function watch(zero, query) {
  const view = zero.materialize(query);
  const state = { rows: undefined, type: undefined };
  const waiting = [];
  view.addListener((rows, type) => {
    state.rows = structuredClone(rows);
    state.type = type;
    for (const check of [...waiting]) check();
  });
  state.until = (what, holds) => new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`${what}: still ${state.type} ${JSON.stringify(state.rows)}`)), 60_000);
    const check = () => {
      if (!holds(state.rows, state.type)) return;
      clearTimeout(timer);
      waiting.splice(waiting.indexOf(check), 1);
      resolve(state.rows);
    };
    waiting.push(check);
    check();
  });
  state.destroy = () => view.destroy();
  return state;
}

/** Waits until something holds that nobody tells of. */
export async function until(what, holds) {
  for (const end = Date.now() + 60_000; !holds();) {
    if (Date.now() > end) throw new Error(`not within a minute: ${what}`);
    await new Promise(resolve => setTimeout(resolve, 50));
  }
}

export const titles = rows => rows?.map(row => row.title);
export const complete = (rows, type) => type === 'complete';
