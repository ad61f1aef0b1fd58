// Short names for what a module of wasm-bindgen and its script call each other.
import { readFileSync, writeFileSync } from 'node:fs';
import { Refusal } from './tools.mjs';
import { EXPORTS, IMPORTS, moduleOf, number, readerOf, sectionsOf, text } from './wasm-sections.mjs';

const FUNCTION = 0;
const MODULE = './landfall_bg.js';

/**
 * Renames imports and exports in the module and in the script: wasm-bindgen's names end in sixteen digits, which no compression shrinks.
 * What the script does not ask for is exported no longer. Equal modules get equal names.
 */
export function shortenNames(wasm, script) {
  const glue = readFileSync(script, 'utf8');
  const wanted = new Set(Array.from(glue.matchAll(/\bwasm\.(\w+)/g), ([, name]) => name));
  const imports = new Map();
  const exports = new Map();
  const sections = sectionsOf(readFileSync(wasm)).map(({ id, body }) => {
    if (id === IMPORTS) return { id, body: rewrite(body, reader => importEntry(reader, imports)) };
    if (id === EXPORTS) return { id, body: rewrite(body, reader => exportEntry(reader, wanted, exports)) };
    return { id, body };
  });
  const known = (names, name) => {
    if (!names.has(name)) throw new Refusal(`${script} knows ${name}, and ${wasm} does not`);
    return names.get(name);
  };
  const renamed = glue
    .replaceAll(/^( {12})(\w+)(?=: function\()/gm, (_, indent, name) => indent + known(imports, name))
    .replaceAll(/\bwasm\.(\w+)/g, (_, name) => `wasm.${known(exports, name)}`)
    .replaceAll(`"${MODULE}": import0`, 'a: import0');
  writeFileSync(wasm, moduleOf(sections));
  writeFileSync(script, renamed);
}

function importEntry(reader, names) {
  const [module, name, kind, type] = [reader.text(), reader.text(), reader.number(), reader.number()];
  if (module !== MODULE || kind !== FUNCTION) throw new Refusal(`the module was not expected to import ${name} of ${module}`);
  names.set(name, shortName(names.size));
  return [text('a'), text(names.get(name)), number(kind), number(type)];
}

function exportEntry(reader, wanted, names) {
  const [name, kind, index] = [reader.text(), reader.number(), reader.number()];
  if (!wanted.has(name)) return [];
  names.set(name, shortName(names.size));
  return [text(names.get(name)), number(kind), number(index)];
}

/** The entries of a section, each as `entry` rewrites it; those that it gives nothing for are left out. */
function rewrite(body, entry) {
  const entries = readerOf(body).list(entry).filter(parts => parts.length > 0);
  return Buffer.concat([number(entries.length), ...entries.flat()]);
}

/** a, b … z, aa, ba …: letters only, so that no name is a number to JavaScript. */
function shortName(index) {
  let name = '';
  for (let rest = index; rest >= 0; rest = Math.floor(rest / 26) - 1) name += String.fromCharCode(97 + (rest % 26));
  return name;
}
