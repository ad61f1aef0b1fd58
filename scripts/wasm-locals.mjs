// The numbers of local variables: two in five of a module's instructions say one, and compression finds what repeats the better,
// the more often code that does the same has the same numbers.
import { readFileSync, writeFileSync } from 'node:fs';
import { LOCAL_GET, LOCAL_TEE, passInstruction } from './wasm-instructions.mjs';
import { CODE, FUNCTIONS, moduleOf, number, readerOf, sectionsOf, TYPES } from './wasm-sections.mjs';

/** After so many there is little left to win. */
const ROUNDS = 8;
/** As if each number had been seen so often in all, before any was. */
const DOUBT = 4;
/** As if what follows on an operation alone had been seen so often behind each instruction. */
const CAUTION = 16;
const MOST_NUMBERS = 256;
const UNSEEN = { all: 0, of: new Map() };

/** Numbers the locals of each function anew, each type's among themselves: as other functions, and it itself, number theirs in such places. */
export function numberByLikeness(wasm) {
  const sections = sectionsOf(readFileSync(wasm));
  const body = id => readerOf(sections.find(section => section.id === id).body);
  const parameters = body(TYPES).list(parametersOf);
  const types = body(FUNCTIONS).list(reader => reader.number());
  const functions = body(CODE).list(reader => reader.bytes()).map((code, index) => functionOf(code, parameters[types[index]]));
  const sightings = new Map();
  for (const one of functions) count(sightings, one, 1);
  for (let round = 0; round < ROUNDS; round++) {
    for (const one of functions) {
      count(sightings, one, -1);
      renumber(one, sightings);
      count(sightings, one, 1);
    }
  }
  const code = functions.map(codeOf).flatMap(one => [number(one.length), one]);
  const written = { id: CODE, body: Buffer.concat([number(functions.length), ...code]) };
  writeFileSync(wasm, moduleOf(sections.map(section => (section.id === CODE ? written : section))));
}

/** How many parameters a type of functions has. */
function parametersOf(reader) {
  reader.number();
  const parameters = reader.list(entry => entry.number()).length;
  reader.list(entry => entry.number());
  return parameters;
}

/** A function: the declarations of its locals as they stand, its instructions, and under which number each local is now. */
function functionOf(code, parameters) {
  const reader = readerOf(code);
  const types = reader.list(entry => new Array(entry.number()).fill(entry.number())).flat();
  const head = code.subarray(0, reader.at());
  const instructions = [];
  while (!reader.isAtEnd()) {
    const from = reader.at();
    const operation = passInstruction(reader);
    const bytes = code.subarray(from, reader.at());
    if (operation < LOCAL_GET || operation > LOCAL_TEE) instructions.push({ text: bytes.toString('latin1') });
    else instructions.push({ text: String.fromCharCode(operation), local: readerOf(bytes.subarray(1)).number() });
  }
  const uses = [];
  for (const [at, { local }] of instructions.entries()) if (local !== undefined) (uses[local] ??= []).push(at);
  return { head, instructions, parameters, types, uses, numbers: Array.from({ length: parameters + types.length }, (_, local) => local) };
}

function codeOf({ head, instructions, numbers }) {
  return Buffer.concat([
    head,
    ...instructions.flatMap(({ text, local }) => [Buffer.from(text, 'latin1'), ...(local === undefined ? [] : [number(numbers[local])])]),
  ]);
}

/** What the number of a local is guessed from: its operation, and the instruction before. */
function placeOf({ instructions, numbers }, at) {
  const { text } = instructions[at];
  const before = instructions[at - 1];
  if (before === undefined) return [text, `${text} `];
  return [text, `${text} ${before.text}${before.local === undefined ? '' : ` ${numbers[before.local]}`}`];
}

/** Adds what a function shows to what was seen: which numbers stand in which places. */
function count(sightings, one, change) {
  for (const [at, { local }] of one.instructions.entries()) {
    if (local === undefined) continue;
    for (const place of placeOf(one, at)) {
      let seen = sightings.get(place);
      if (seen === undefined) sightings.set(place, (seen = { all: 0, of: new Map() }));
      seen.all += change;
      seen.of.set(one.numbers[local], (seen.of.get(one.numbers[local]) ?? 0) + change);
    }
  }
}

/** Exchanges numbers of locals for as long as that makes the function less surprising. */
function renumber(one, sightings) {
  const { parameters, types, numbers } = one;
  for (const type of new Set(types)) {
    const locals = types.flatMap((other, index) => (other === type ? [parameters + index] : []));
    const free = locals.map(local => numbers[local]);
    const costs = new Map(locals.map(local => [local, costsOf(one, local, free, sightings)]));
    const cost = (local, place) => costs.get(local)[place];
    const places = locals.map((_, index) => index);
    for (let changed = true; changed; ) {
      changed = false;
      for (let a = 0; a < locals.length; a++) {
        for (let b = a + 1; b < locals.length; b++) {
          const [x, y] = [locals[a], locals[b]];
          const won = cost(x, places[a]) + cost(y, places[b]) - cost(x, places[b]) - cost(y, places[a]);
          if (won < 1e-6) continue;
          [places[a], places[b]] = [places[b], places[a]];
          changed = true;
        }
      }
    }
    locals.forEach((local, index) => (numbers[local] = free[places[index]]));
  }
}

/** How many bits a local would cost under each number. */
function costsOf(one, local, free, sightings) {
  const costs = new Array(free.length).fill(0);
  for (const at of one.uses[local] ?? []) {
    const [rough, fine] = placeOf(one, at).map(place => sightings.get(place) ?? UNSEEN);
    free.forEach((number, index) => {
      const likely = ((rough.of.get(number) ?? 0) + DOUBT / MOST_NUMBERS) / (rough.all + DOUBT);
      costs[index] -= Math.log2(((fine.of.get(number) ?? 0) + CAUTION * likely) / (fine.all + CAUTION));
    });
  }
  return costs;
}
