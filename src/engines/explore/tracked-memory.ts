/**
 * The explorer's arena: knows which lines an execution touched, so that restoring it costs what was written and no more,
 * and remembers what the granted compare-and-exchange compared with.
 */
import type { Memory } from '../../machine/memory.ts';
import type { Granted } from '../../machine/point.ts';
import { Word64 } from '../../machine/word64.ts';

/** log2 of the words of a line, the unit of restoring. */
const LINE_SHIFT = 4;
const LINE = 1 << LINE_SHIFT;
/** Steps are 32-bit integers here (`address * 16 + kind`), which bounds the arena. */
const WORDS_MAX = 1 << 27;

export class TrackedMemory implements Memory {
  readonly words: Int32Array<SharedArrayBuffer>;
  /** What `setup` left. */
  initial: Int32Array;
  /** The address of the access that was granted last, until a compare-and-exchange used it; -1 where there is none. */
  granted = -1;
  /** Whether the granted access was a compare-and-exchange: 0 no, 1 of 32 bits, 2 of 64 bits. What it compared with follows. */
  exchange = 0;
  exchangeLo = 0;
  exchangeHi = 0;
  readonly #stamp: Int32Array;
  readonly #dirty: Int32Array;
  #dirtyCount = 0;
  #epoch = 1;

  constructor(words: number) {
    if (!Number.isInteger(words) || words < 1 || words > WORDS_MAX) {
      throw new RangeError(`a program's arena has 1 to ${WORDS_MAX} words, not ${words}`);
    }
    const lines = Math.ceil(words / LINE);
    this.words = new Int32Array(new SharedArrayBuffer(lines * LINE * 4));
    this.initial = new Int32Array(lines * LINE);
    this.#stamp = new Int32Array(lines);
    this.#dirty = new Int32Array(lines);
  }

  /** Makes the present contents the initial state. */
  freeze(): void {
    this.initial = Int32Array.from(this.words);
    this.#dirtyCount = 0;
    this.#epoch++;
  }

  /** Back to the initial state. */
  restore(): void {
    const { words, initial } = this;
    for (let i = 0; i < this.#dirtyCount; i++) {
      const from = this.#dirty[i] << LINE_SHIFT;
      for (let a = from; a < from + LINE; a++) words[a] = initial[a];
    }
    this.#dirtyCount = 0;
    this.#epoch = (this.#epoch + 1) | 0;
  }

  /** A 53-bit hash of all words: equal for equal contents, whatever the order of the writes. */
  hash(): number {
    const { words, initial } = this;
    let h1 = 0;
    let h2 = 0;
    for (let i = 0; i < this.#dirtyCount; i++) {
      const from = this.#dirty[i] << LINE_SHIFT;
      for (let a = from; a < from + LINE; a++) {
        const value = words[a];
        if (value === initial[a]) continue;
        let x = Math.imul(value ^ Math.imul(a + 1, 0x9e3779b1), 0x85ebca6b);
        x = Math.imul(x ^ (x >>> 15), 0xc2b2ae35);
        x ^= x >>> 13;
        h1 = (h1 + x) | 0;
        h2 = (h2 + Math.imul(x ^ (x >>> 11) ^ a, 0x27d4eb2f)) | 0;
      }
    }
    return (h1 >>> 0) * 0x200000 + (h2 >>> 11);
  }

  protected touch(a: number): void {
    const line = a >> LINE_SHIFT;
    if (this.#stamp[line] !== this.#epoch) {
      this.#stamp[line] = this.#epoch;
      this.#dirty[this.#dirtyCount++] = line;
    }
  }

  load32(a: Granted): number {
    return this.words[a];
  }

  store32(a: Granted, value: number): void {
    this.touch(a);
    this.words[a] = value;
  }

  cmpxchg32(a: Granted, expected: number, next: number): number {
    const seen = this.words[a];
    if (a === this.granted) {
      this.granted = -1;
      this.exchange = 1;
      this.exchangeLo = expected | 0;
    }
    if (seen === (expected | 0)) {
      this.touch(a);
      this.words[a] = next;
    }
    return seen;
  }

  xchg32(a: Granted, next: number): number {
    const old = this.words[a];
    this.touch(a);
    this.words[a] = next;
    return old;
  }

  add32(a: Granted, delta: number): number {
    const old = this.words[a];
    this.touch(a);
    this.words[a] = old + delta;
    return old;
  }

  and32(a: Granted, mask: number): number {
    const old = this.words[a];
    this.touch(a);
    this.words[a] = old & mask;
    return old;
  }

  or32(a: Granted, mask: number): number {
    const old = this.words[a];
    this.touch(a);
    this.words[a] = old | mask;
    return old;
  }

  load64(a: Granted): Word64 {
    return new Word64(this.words[a], this.words[a + 1]);
  }

  store64(a: Granted, value: Word64): void {
    this.touch(a);
    this.words[a] = value.lo;
    this.words[a + 1] = value.hi;
  }

  cmpxchg64(a: Granted, expected: Word64, next: Word64): Word64 {
    const { words } = this;
    if (a === this.granted) {
      this.granted = -1;
      this.exchange = 2;
      this.exchangeLo = expected.lo;
      this.exchangeHi = expected.hi;
    }
    if (words[a] !== expected.lo || words[a + 1] !== expected.hi) return new Word64(words[a], words[a + 1]);
    this.touch(a);
    words[a] = next.lo;
    words[a + 1] = next.hi;
    return expected;
  }

  xchg64(a: Granted, next: Word64): Word64 {
    const old = new Word64(this.words[a], this.words[a + 1]);
    this.touch(a);
    this.words[a] = next.lo;
    this.words[a + 1] = next.hi;
    return old;
  }

  and64(a: Granted, mask: Word64): Word64 {
    const old = new Word64(this.words[a], this.words[a + 1]);
    this.touch(a);
    this.words[a] = old.lo & mask.lo;
    this.words[a + 1] = old.hi & mask.hi;
    return old;
  }

  fill64(a: Granted, value: Word64, n: number): void {
    const { words } = this;
    for (let i: number = a, end = a + 2 * n; i < end; i += 2) {
      this.touch(i);
      words[i] = value.lo;
      words[i + 1] = value.hi;
    }
  }

  fill32(a: Granted, value: number, n: number): void {
    for (let i: number = a, end = a + n; i < end; i++) {
      this.touch(i);
      this.words[i] = value;
    }
  }
}
