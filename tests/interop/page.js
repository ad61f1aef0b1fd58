// A page of the Zero app: the npm package as it is, in a browser, with its store in IndexedDB.
import * as zeroPackage from '@rocicorp/zero';
import { makeApp } from './shared.js';

const { mutators, queries, schema } = makeApp(zeroPackage);

const { cacheURL } = globalThis.settings;
const zero = new zeroPackage.Zero({ schema, mutators, cacheURL, userID: 'ann', auth: 'ann', context: { userID: 'ann' }, logLevel: 'error' });
const list = document.querySelector('ul');
zero.materialize(queries.issues()).addListener((rows, type) => {
  list.replaceChildren(...rows.map(({ title, comments }) => {
    const item = document.createElement('li');
    item.textContent = `${title} (${comments.length})`;
    return item;
  }));
  list.dataset.type = type;
});
zero.connection.state.subscribe(state => { document.body.dataset.connection = state.name; });

/** Creates an issue; how it looked in the same task, and what became of it. */
globalThis.create = async issue => {
  const made = zero.mutate(mutators.issue.create(issue));
  const local = await made.client;
  const shown = list.textContent;
  const server = await made.server;
  return { local: local.type, shown, server: server.type };
};
/** Renames an issue; the server's answer. */
globalThis.rename = async issue => {
  const { type, error } = await zero.mutate(mutators.issue.rename(issue)).server;
  return { type, details: error?.details };
};
