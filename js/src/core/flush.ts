/** Applies the view operations of a flush; see `crates/client/FLUSH.md` for their layout. */
import type {Operands, RowOf, ViewTree} from './view-tree.js';

/** Row batch, view operations, released handles. */
export type FlushParts = readonly [batch: Uint8Array, operations: Uint32Array, releases: Uint32Array];

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
