// The sections of a WebAssembly module, read and written.

export const NAMES = 0;
export const TYPES = 1;
export const IMPORTS = 2;
export const FUNCTIONS = 3;
export const EXPORTS = 7;
export const CODE = 10;

const HEADER = Buffer.from('\0asm\x01\0\0\0', 'latin1');

export function sectionsOf(module) {
  const reader = readerOf(module.subarray(HEADER.length));
  const sections = [];
  while (!reader.isAtEnd()) sections.push({ id: reader.number(), body: reader.bytes() });
  return sections;
}

export function moduleOf(sections) {
  return Buffer.concat([HEADER, ...sections.flatMap(({ id, body }) => [number(id), number(body.length), body])]);
}

export function readerOf(bytes) {
  let at = 0;
  const reader = {
    at: () => at,
    isAtEnd: () => at === bytes.length,
    byte: () => bytes[at++],
    skip(count) {
      at += count;
    },
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
    list: entry => Array.from({ length: reader.number() }, () => entry(reader)),
  };
  return reader;
}

export function number(value) {
  const bytes = [];
  for (; value > 0x7f; value = Math.floor(value / 128)) bytes.push((value & 0x7f) | 0x80);
  return Buffer.from([...bytes, value]);
}

export const text = value => Buffer.concat([number(Buffer.byteLength(value)), Buffer.from(value)]);
