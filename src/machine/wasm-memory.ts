/**
 * Memory for threads, its atomic operations a small WebAssembly module over the same shared memory.
 *
 * The engine inlines neither `Atomics` nor calls into WebAssembly, but the latter take halves of a 64-bit word as they are,
 * and `Atomics` wants BigInts. Which operations go which way was measured (bench/): all read-modify-writes and 64-bit
 * stores are faster here; plain loads, plain stores and fills stay in JavaScript.
 */
import wat from './atomics64.wat';
import type { Memory } from './memory.ts';
import type { Granted } from './point.ts';
import { Word64 } from './word64.ts';

/**
 * The exports of `atomics64.wat`. Addresses are byte offsets; 64-bit operations return the low half of the old
 * value (cas64: whether it exchanged) and leave the old value in seenLo, seenHi.
 */
interface Exports {
  cas64(at: number, expectedLo: number, expectedHi: number, lo: number, hi: number): number;
  xchg64(at: number, lo: number, hi: number): number;
  and64(at: number, lo: number, hi: number): number;
  store64(at: number, lo: number, hi: number): void;
  seenLo(): number;
  seenHi(): number;
  cas32(at: number, expected: number, next: number): number;
  xchg32(at: number, next: number): number;
  add32(at: number, delta: number): number;
  and32(at: number, mask: number): number;
  or32(at: number, mask: number): number;
}

let module: WebAssembly.Module | undefined;

export class WasmMemory implements Memory {
  /** The arena. For engines, oracles and reports only. */
  readonly words: Int32Array<SharedArrayBuffer>;
  readonly #ops: Exports;

  /** `arena` is the shared memory that the other threads have too; each thread makes an instance of its own. */
  constructor(arena: WebAssembly.Memory) {
    module ??= new WebAssembly.Module(wat);
    this.words = new Int32Array(arena.buffer as unknown as SharedArrayBuffer);
    this.#ops = new WebAssembly.Instance(module, { env: { memory: arena } }).exports as unknown as Exports;
  }

  load32(a: Granted): number {
    return this.words[a];
  }

  store32(a: Granted, value: number): void {
    this.words[a] = value;
  }

  cmpxchg32(a: Granted, expected: number, next: number): number {
    return this.#ops.cas32(a << 2, expected, next);
  }

  xchg32(a: Granted, next: number): number {
    return this.#ops.xchg32(a << 2, next);
  }

  add32(a: Granted, delta: number): number {
    return this.#ops.add32(a << 2, delta);
  }

  and32(a: Granted, mask: number): number {
    return this.#ops.and32(a << 2, mask);
  }

  or32(a: Granted, mask: number): number {
    return this.#ops.or32(a << 2, mask);
  }

  /** As `SharedMemory.load64`. */
  load64(a: Granted): Word64 {
    const { words } = this;
    let lo = words[a];
    for (;;) {
      const hi = words[a + 1];
      const again = words[a];
      if (again === lo) return new Word64(lo, hi);
      lo = again;
    }
  }

  store64(a: Granted, value: Word64): void {
    this.#ops.store64(a << 2, value.lo, value.hi);
  }

  cmpxchg64(a: Granted, expected: Word64, next: Word64): Word64 {
    if (this.#ops.cas64(a << 2, expected.lo, expected.hi, next.lo, next.hi) === 1) return expected;
    return new Word64(this.#ops.seenLo(), this.#ops.seenHi());
  }

  xchg64(a: Granted, next: Word64): Word64 {
    const lo = this.#ops.xchg64(a << 2, next.lo, next.hi);
    return new Word64(lo, this.#ops.seenHi());
  }

  and64(a: Granted, mask: Word64): Word64 {
    const lo = this.#ops.and64(a << 2, mask.lo, mask.hi);
    return new Word64(lo, this.#ops.seenHi());
  }

  fill64(a: Granted, value: Word64, n: number): void {
    const { words } = this;
    for (let i: number = a, end = a + 2 * n; i < end; i += 2) {
      words[i] = value.lo;
      words[i + 1] = value.hi;
    }
  }

  fill32(a: Granted, value: number, n: number): void {
    this.words.fill(value, a, a + n);
  }
}
