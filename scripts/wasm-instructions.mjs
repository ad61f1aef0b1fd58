// The instructions of a WebAssembly function, one after another: as far as they have to be told apart.
import { Refusal } from './tools.mjs';

export const LOCAL_GET = 0x20;
export const LOCAL_TEE = 0x22;
const BR_TABLE = 0x0e;
const SELECT_OF_TYPE = 0x1c;
const F32_CONST = 0x43;
const F64_CONST = 0x44;
const PREFIX = 0xfc;

/** How many numbers follow on operations, from the first to the last of a range; those that stand in no range are read otherwise or not known. */
const FOLLOWED_BY = [
  [0x00, 0x01, 0], // unreachable, nop
  [0x02, 0x04, 1], // block, loop, if
  [0x05, 0x05, 0], // else
  [0x0b, 0x0b, 0], // end
  [0x0c, 0x0d, 1], // br, br_if
  [0x0f, 0x0f, 0], // return
  [0x10, 0x10, 1], // call
  [0x11, 0x11, 2], // call_indirect
  [0x1a, 0x1b, 0], // drop, select
  [0x20, 0x26, 1], // locals, globals, tables
  [0x28, 0x3e, 2], // loads and stores
  [0x3f, 0x42, 1], // memory.size, memory.grow, i32.const, i64.const
  [0x45, 0xc4, 0], // arithmetic
  [0xd0, 0xd0, 1], // ref.null
  [0xd1, 0xd1, 0], // ref.is_null
  [0xd2, 0xd2, 1], // ref.func
];
const NUMBERS = new Map(FOLLOWED_BY.flatMap(([first, last, numbers]) => Array.from({ length: last - first + 1 }, (_, more) => [first + more, numbers])));

/** How many numbers follow on those behind the prefix: conversions without a trap have none. */
const PREFIXED = [0, 0, 0, 0, 0, 0, 0, 0, 2, 1, 2, 1, 2, 1, 2, 1, 1, 1];

/** Goes past one instruction and gives its operation. */
export function passInstruction(reader) {
  const operation = reader.byte();
  if (operation === BR_TABLE) {
    reader.list(entry => entry.number());
    reader.number();
  } else if (operation === SELECT_OF_TYPE) reader.list(entry => entry.number());
  else if (operation === F32_CONST) reader.skip(4);
  else if (operation === F64_CONST) reader.skip(8);
  else passNumbers(reader, operation === PREFIX ? PREFIXED[reader.number()] : NUMBERS.get(operation), operation);
  return operation;
}

function passNumbers(reader, count, operation) {
  if (count === undefined) throw new Refusal(`the module was not expected to have the instruction 0x${operation.toString(16)}`);
  for (let passed = 0; passed < count; passed++) reader.number();
}
