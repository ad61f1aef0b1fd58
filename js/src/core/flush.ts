/** Applies the view operations of a flush; see `crates/client/FLUSH.md` for their layout. */
import type {Memory} from './memory.js';
import type {RowBatchPlace} from './row-batch.js';
import {Operands, type RowOf, type ViewTree} from './view-tree.js';

/** How many words say where a flush lies. */
export const flushPlaceWords = 8;

/** Where a flush lies in the module's memory. */
export class FlushPlace implements RowBatchPlace {
  readonly words: number;
  readonly wordCount: number;
  readonly text: number;
  readonly textLength: number;
  readonly operations: Operands;
  readonly #releases: number;
  readonly #releaseCount: number;
  readonly #memory: Memory;

  /** `at` is the index of the words that say where. */
  constructor(memory: Memory, at: number) {
    const {words} = memory;
    this.words = words[at]!;
    this.wordCount = words[at + 1]!;
    this.text = words[at + 2]!;
    this.textLength = words[at + 3]!;
    this.operations = new Operands(words, words[at + 4]! >>> 2, words[at + 5]!);
    this.#releases = words[at + 6]! >>> 2;
    this.#releaseCount = words[at + 7]!;
    this.#memory = memory;
  }

  /** Whether it is so large that its memory should be given back soon. */
  get isLarge(): boolean {
    return this.wordCount > 0x4000;
  }

  /** Forgets the rows that nothing shows any more. */
  release(rows: unknown[]): void {
    const {words} = this.#memory;
    for (let i = 0; i < this.#releaseCount; i++) {
      rows[words[this.#releases + i]!] = undefined;
    }
  }
}

/** How much is known of a query's answer. */
export type ViewStatus = 'unknown' | 'complete' | 'error';

/** What operations change: a preload has no tree. */
export interface Target {
  readonly tree: ViewTree | undefined;
  status: ViewStatus;
}

const opcode = {snapshot: 1, insert: 2, remove: 3, replace: 4, move: 5, status: 6} as const;
const statuses: readonly ViewStatus[] = ['unknown', 'complete', 'error'];

/** Applies all operations in order; nothing is published yet. */
export function applyOperations(operands: Operands, rowOf: RowOf, targetOf: (view: number) => Target): void {
  while (!operands.done) {
    const code = operands.next();
    const target = targetOf(operands.next());
    if (code === opcode.status) {
      target.status = statuses[operands.next()] ?? 'unknown';
    } else if (target.tree === undefined) {
      throw new RangeError('A flush shows rows in a view that only preloads.');
    } else {
      applyToTree(code, target.tree, operands, rowOf);
    }
  }
}

function applyToTree(code: number, tree: ViewTree, operands: Operands, rowOf: RowOf): void {
  switch (code) {
    case opcode.snapshot:
      operands.next(); // the length in words, for readers that skip
      tree.replaceAll(operands, rowOf);
      break;
    case opcode.insert:
      tree.insert(operands, rowOf);
      break;
    case opcode.remove:
      tree.remove(operands);
      break;
    case opcode.replace:
      tree.replace(operands, rowOf);
      break;
    case opcode.move:
      tree.move(operands, rowOf);
      break;
    default:
      throw new RangeError(`A flush has the unknown operation ${code}.`);
  }
}
