/** The memory of a WebAssembly module as typed arrays. */

/** What a `WebAssembly.Memory` is to a reader. */
export interface MemorySource {
  readonly buffer: ArrayBufferLike;
}

/** Reads memory by addresses. What lies there may change with every call into the module. */
export class Memory {
  readonly #source: MemorySource;
  words!: Uint32Array;
  integers!: Int32Array;
  doubles!: Float64Array;
  bytes!: Uint8Array;

  constructor(source: MemorySource) {
    this.#source = source;
    this.refresh();
  }

  /** To be called after calls into the module: when its memory grows, the old arrays have no elements any more. */
  refresh(): void {
    const {buffer} = this.#source;
    if (this.words === undefined || this.words.buffer !== buffer) {
      this.words = new Uint32Array(buffer);
      this.integers = new Int32Array(buffer);
      this.doubles = new Float64Array(buffer);
      this.bytes = new Uint8Array(buffer);
    }
  }
}
