/**
 * Making the arena: the one stretch of shared memory that all threads of a run have.
 *
 * It is the buffer of a shared WebAssembly memory where that is large enough, so that the faster atomic operations can be
 * used, and a plain SharedArrayBuffer otherwise.
 */

/** A page of WebAssembly memory, in bytes. */
const WASM_PAGE_BYTES = 65_536;
/** WebAssembly memory ends at 4 GiB. */
const WASM_PAGES_MAX = 65_536;

export interface SharedArena {
  readonly buffer: SharedArrayBuffer;
  /** The whole buffer: at least as many words as asked for, all 0. */
  readonly words: Int32Array<SharedArrayBuffer>;
  /** The memory to make a `WasmMemory` from in each thread; absent beyond 4 GiB. It can be sent to workers. */
  readonly wasm?: WebAssembly.Memory;
}

/** Makes an arena of `words` 32-bit words. */
export function createArena(words: number): SharedArena {
  const pages = Math.max(1, Math.ceil((words * 4) / WASM_PAGE_BYTES));
  if (pages <= WASM_PAGES_MAX) {
    const wasm = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
    const buffer = wasm.buffer as unknown as SharedArrayBuffer;
    return { buffer, words: new Int32Array(buffer), wasm };
  }
  const buffer = new SharedArrayBuffer(Math.ceil(words / 2) * 8);
  return { buffer, words: new Int32Array(buffer) };
}
