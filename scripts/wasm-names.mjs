// Short names for what a module of wasm-bindgen and its script call each other.
import { readFileSync, writeFileSync } from 'node:fs';
import { Refusal } from './tools.mjs';

const IMPORTS = 2;
const EXPORTS = 7;
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
    if (id === IMPORTS) return section(id, rewrite(body, reader => importEntry(reader, imports)));
    if (id === EXPORTS) return section(id, rewrite(body, reader => exportEntry(reader, wanted, exports)));
    return section(id, body);
  });
  const known = (names, name) => {
    if (!names.has(name)) throw new Refusal(`${script} knows ${name}, and ${wasm} does not`);
    return names.get(name);
  };
  const renamed = glue
    .replaceAll(/^( {12})(\w+)(?=: function\()/gm, (_, indent, name) => indent + known(imports, name))
    .replaceAll(/\bwasm\.(\w+)/g, (_, name) => `wasm.${known(exports, name)}`)
    .replaceAll(`"${MODULE}": import0`, 'a: import0');
  writeFileSync(wasm, Buffer.concat([readFileSync(wasm).subarray(0, 8), ...sections]));
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
  const reader = readerOf(body);
  const entries = Array.from({ length: reader.number() }, () => entry(reader)).filter(parts => parts.length > 0);
  return Buffer.concat([number(entries.length), ...entries.flat()]);
}

function sectionsOf(module) {
  const reader = readerOf(module.subarray(8));
  const sections = [];
  while (!reader.isAtEnd()) sections.push({ id: reader.number(), body: reader.bytes() });
  return sections;
}

const section = (id, body) => Buffer.concat([number(id), number(body.length), body]);

function readerOf(bytes) {
  let at = 0;
  const reader = {
    isAtEnd: () => at === bytes.length,
    number() {
      let value = 0;
      for (let shift = 0; ; shift += 7) {
        const byte = bytes[at++];
        value += (byte & 0x7f) * 2 ** shift;
        if (byte < 0x80) return value;
      }
    },
    bytes() {
      const length = reader.number();
      at += length;
      return bytes.subarray(at - length, at);
    },
    text: () => reader.bytes().toString('utf8'),
  };
  return reader;
}

function number(value) {
  const bytes = [];
  for (; value > 0x7f; value = Math.floor(value / 128)) bytes.push((value & 0x7f) | 0x80);
  return Buffer.from([...bytes, value]);
}

const text = value => Buffer.concat([number(Buffer.byteLength(value)), Buffer.from(value)]);

/** a, b … z, aa, ba …: letters only, so that no name is a number to JavaScript. */
function shortName(index) {
  let name = '';
  for (let rest = index; rest >= 0; rest = Math.floor(rest / 26) - 1) name += String.fromCharCode(97 + (rest % 26));
  return name;
}
