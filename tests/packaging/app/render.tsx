// A server that renders the page: nothing may need a browser.
import { renderToString } from 'react-dom/server';
import { Notes } from './notes.js';

for (const name of ['window', 'document', 'indexedDB']) {
  if (name in globalThis) throw new Error(`${name} is there, so this shows nothing`);
}
console.log(`rendered ${renderToString(<Notes />).length >= 0}`);
