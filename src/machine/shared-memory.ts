/**
 * Memory for threads, by JavaScript's own `Atomics`: the reference that faster implementations must agree with.
 *
 * Loads of 32 bits and stores of 32 bits are plain: on x86 they are ordered as the single source expects, and the engine's
 * compiler keeps them in order with the atomic operations around them. 64-bit words pass between their halves and the BigInt that
 * `Atomics` wants through eight bytes of private memory, which is several times cheaper than shifting BigInts.
 */
import type { Memory } from './memory.ts';
import type { Granted } from './point.ts';
import { Word64 } from './word64.ts';

export class SharedMemory implements Memory {
  /** The arena. For engines, oracles and reports only. */
  readonly words: Int32Array<SharedArrayBuffer>;
  readonly #longs: BigInt64Array<SharedArrayBuffer>;
  readonly #halves = new Int32Array(2);
  readonly #long = new BigInt64Array(this.#halves.buffer);

  constructor(words: Int32Array<SharedArrayBuffer>) {
    this.words = words;
    this.#longs = new BigInt64Array(words.buffer, words.byteOffset, words.length >>> 1);
  }

  load32(a: Granted): number {
    return this.words[a];
  }

  store32(a: Granted, value: number): void {
    this.words[a] = value;
  }

  cmpxchg32(a: Granted, expected: number, next: number): number {
    return Atomics.compareExchange(this.words, a, expected, next);
  }

  xchg32(a: Granted, next: number): number {
    return Atomics.exchange(this.words, a, next);
  }

  add32(a: Granted, delta: number): number {
    return Atomics.add(this.words, a, delta);
  }

  and32(a: Granted, mask: number): number {
    return Atomics.and(this.words, a, mask);
  }

  or32(a: Granted, mask: number): number {
    return Atomics.or(this.words, a, mask);
  }

  /** Two half loads, taken again if the low half changed between them: halves of two values are paired rarely, but can be. */
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

  /** One 64-bit store, so that no reader sees half of it. */
  store64(a: Granted, value: Word64): void {
    Atomics.store(this.#longs, a >>> 1, this.#join(value));
  }

  cmpxchg64(a: Granted, expected: Word64, next: Word64): Word64 {
    const before = this.#join(expected);
    const seen = Atomics.compareExchange(this.#longs, a >>> 1, before, this.#join(next));
    return seen === before ? expected : this.#split(seen);
  }

  xchg64(a: Granted, next: Word64): Word64 {
    return this.#split(Atomics.exchange(this.#longs, a >>> 1, this.#join(next)));
  }

  and64(a: Granted, mask: Word64): Word64 {
    return this.#split(Atomics.and(this.#longs, a >>> 1, this.#join(mask)));
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

  #join(value: Word64): bigint {
    this.#halves[0] = value.lo;
    this.#halves[1] = value.hi;
    return this.#long[0];
  }

  #split(value: bigint): Word64 {
    this.#long[0] = value;
    return new Word64(this.#halves[0], this.#halves[1]);
  }
}
