/**
 * Memory for engines with one thread: the explorer, the virtual clock, and the coordinator while no worker runs.
 *
 * Grants make each access indivisible already, so plain loads and stores are enough.
 */
import type { Memory } from './memory.ts';
import type { Granted } from './point.ts';
import { Word64 } from './word64.ts';

export class PlainMemory implements Memory {
  /** The arena. For engines, oracles and reports only: the single source sees {@link Memory}. */
  readonly words: Int32Array<SharedArrayBuffer>;

  constructor(words: Int32Array<SharedArrayBuffer>) {
    this.words = words;
  }

  load32(a: Granted): number {
    return this.words[a];
  }

  store32(a: Granted, value: number): void {
    this.words[a] = value;
  }

  cmpxchg32(a: Granted, expected: number, next: number): number {
    const seen = this.words[a];
    if (seen === (expected | 0)) this.words[a] = next;
    return seen;
  }

  xchg32(a: Granted, next: number): number {
    const old = this.words[a];
    this.words[a] = next;
    return old;
  }

  add32(a: Granted, delta: number): number {
    const old = this.words[a];
    this.words[a] = old + delta;
    return old;
  }

  and32(a: Granted, mask: number): number {
    const old = this.words[a];
    this.words[a] = old & mask;
    return old;
  }

  or32(a: Granted, mask: number): number {
    const old = this.words[a];
    this.words[a] = old | mask;
    return old;
  }

  load64(a: Granted): Word64 {
    return new Word64(this.words[a], this.words[a + 1]);
  }

  store64(a: Granted, value: Word64): void {
    this.words[a] = value.lo;
    this.words[a + 1] = value.hi;
  }

  cmpxchg64(a: Granted, expected: Word64, next: Word64): Word64 {
    const { words } = this;
    if (words[a] !== expected.lo || words[a + 1] !== expected.hi) return new Word64(words[a], words[a + 1]);
    words[a] = next.lo;
    words[a + 1] = next.hi;
    return expected;
  }

  xchg64(a: Granted, next: Word64): Word64 {
    const old = this.load64(a);
    this.store64(a, next);
    return old;
  }

  and64(a: Granted, mask: Word64): Word64 {
    const old = this.load64(a);
    this.words[a] = old.lo & mask.lo;
    this.words[a + 1] = old.hi & mask.hi;
    return old;
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
