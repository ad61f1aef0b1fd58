// Rows of a query as they are now, and a wait for what they should become.

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
export const titles = rows => rows?.map(row => row.title);
export const complete = (rows, type) => type === 'complete';
