/**
 * The arena under the virtual clock: plain memory that also tells the directory which CPU's cache cleared pages are in.
 *
 * A page-table page that was just cleared is in its allocator's cache; without this, its first entries would be charged a
 * trip to memory. The time of the clearing itself is the price of `tableAlloc`.
 */
import { LINE_WORDS } from '../../machine/arena.ts';
import { PlainMemory } from '../../machine/plain-memory.ts';
import type { Granted } from '../../machine/point.ts';
import { Word64 } from '../../machine/word64.ts';
import type { LineDirectory } from './line-directory.ts';

/** From so many words of 64 bits on, a copy is faster than a loop. */
const COPIED_FROM = 64;

export class VirtualMemory extends PlainMemory {
  /** The CPU that runs now, set by the engine; -1 between runs, when caches stay as they are. */
  cpu = -1;
  /** Set by the engine, which needs the memory first. */
  directory: LineDirectory | null = null;

  /** The table that was filled last, to copy the next from. */
  #filled: { readonly value: Word64; readonly words: Int32Array } = { value: new Word64(0, 0), words: new Int32Array(0) };

  override fill64(a: Granted, value: Word64, n: number): void {
    if (n < COPIED_FROM) super.fill64(a, value, n);
    else this.words.set(this.#table(value, n), a);
    this.#claim(a, 2 * n);
  }

  override fill32(a: Granted, value: number, n: number): void {
    super.fill32(a, value, n);
    this.#claim(a, n);
  }

  #table(value: Word64, n: number): Int32Array {
    const { value: last, words } = this.#filled;
    if (last.lo === value.lo && last.hi === value.hi && words.length === 2 * n) return words;
    const table = Int32Array.from({ length: 2 * n }, (_, i) => (i % 2 === 0 ? value.lo : value.hi));
    this.#filled = { value, words: table };
    return table;
  }

  /** Lines that are filled to the end and from the start. */
  #claim(a: number, words: number): void {
    if (this.cpu < 0 || this.directory === null) return;
    const end = Math.floor((a + words) / LINE_WORDS);
    this.directory.claim(this.cpu, Math.ceil(a / LINE_WORDS), end);
  }
}
