// The order of a module's functions: compression finds what repeats the better, the closer it stands.
import { readFileSync, writeFileSync } from 'node:fs';
import { CODE, FUNCTIONS, IMPORTS, moduleOf, NAMES, number, readerOf, sectionsOf, text } from './wasm-sections.mjs';

/** How many bytes are compared as one. */
const PIECE = 4;
/** How much of what an earlier function resembles counts for the next but one. */
const MEMORY = 0.5;
/** What counts less than this any more is forgotten. */
const FORGOTTEN = 0.05;
/** A function of another type begins and ends otherwise. */
const OTHER_TYPE = 0.7;
/** So that a short function does not resemble everything. */
const LEAST_WEIGHT = 50;

/** Names the module's functions by the order in which they compress best; `wasm-opt --reorder-functions-by-name` then puts them so. */
export function nameByLikeness(wasm) {
  const sections = sectionsOf(readFileSync(wasm));
  const body = id => readerOf(sections.find(section => section.id === id).body);
  const imported = body(IMPORTS).number();
  const types = body(FUNCTIONS).list(reader => reader.number());
  const functions = body(CODE).list(reader => reader.bytes()).map((code, index) => ({ index, type: types[index], code }));
  const names = likeByLike(functions).map(({ index }, place) => ({ index, name: `f${String(place).padStart(6, '0')}` }));
  names.sort((a, b) => a.index - b.index);
  const list = [number(names.length), ...names.flatMap(({ index, name }) => [number(imported + index), text(name)])];
  const ofFunctions = Buffer.concat(list);
  writeFileSync(wasm, moduleOf([...sections, { id: NAMES, body: Buffer.concat([text('name'), number(1), number(ofFunctions.length), ofFunctions]) }]));
}

/** From the shortest function on, always the one that resembles those before it most. */
function likeByLike(functions) {
  const holders = new Map();
  for (const one of functions) {
    one.pieces = piecesOf(one.code);
    for (const piece of one.pieces) {
      const found = holders.get(piece);
      if (found === undefined) holders.set(piece, [one]);
      else found.push(one);
    }
  }
  const rarity = piece => Math.log(functions.length / holders.get(piece).length);
  for (const one of functions) one.weight = one.pieces.reduce((sum, piece) => sum + rarity(piece), LEAST_WEIGHT);
  const left = new Set([...functions].sort((a, b) => a.code.length - b.code.length));
  const likeness = new Map();
  const order = [];
  for (let next = left.values().next().value; next !== undefined; ) {
    order.push(next);
    left.delete(next);
    likeness.delete(next);
    for (const [one, value] of likeness) {
      if (value < FORGOTTEN) likeness.delete(one);
      else likeness.set(one, value * MEMORY);
    }
    for (const piece of next.pieces) {
      for (const one of holders.get(piece)) if (left.has(one)) likeness.set(one, (likeness.get(one) ?? 0) + rarity(piece));
    }
    next = most(likeness, next.type) ?? left.values().next().value;
  }
  return order;
}

function most(likeness, type) {
  let found;
  let best = 0;
  for (const [one, value] of likeness) {
    const share = (value / one.weight) * (one.type === type ? 1 : OTHER_TYPE);
    if (share > best) [found, best] = [one, share];
  }
  return found;
}

function piecesOf(code) {
  const pieces = new Set();
  for (let at = 0; at + PIECE <= code.length; at++) pieces.add(code.readUInt32BE(at));
  return [...pieces];
}
