/**
 * The arena under the virtual clock: plain memory that also tells the directory which CPU's cache cleared pages are in.
 *
 * A page-table page that was just cleared is in its allocator's cache; without this, its first entries would be charged a
 * trip to memory. The time of the clearing itself is the price of `tableAlloc`.
 */
import { LINE_WORDS } from '../../machine/arena.ts';
import { PlainMemory } from '../../machine/plain-memory.ts';
import type { Granted } from '../../machine/point.ts';
import type { Word64 } from '../../machine/word64.ts';
import type { LineDirectory } from './line-directory.ts';

export class VirtualMemory extends PlainMemory {
  /** The CPU that runs now, set by the engine; -1 between runs, when caches stay as they are. */
  cpu = -1;
  /** Set by the engine, which needs the memory first. */
  directory: LineDirectory | null = null;

  override fill64(a: Granted, value: Word64, n: number): void {
    super.fill64(a, value, n);
    this.#claim(a, 2 * n);
  }

  override fill32(a: Granted, value: number, n: number): void {
    super.fill32(a, value, n);
    this.#claim(a, n);
  }

  /** Lines that are filled to the end and from the start. */
  #claim(a: number, words: number): void {
    if (this.cpu < 0 || this.directory === null) return;
    const end = Math.floor((a + words) / LINE_WORDS);
    for (let line = Math.ceil(a / LINE_WORDS); line < end; line++) this.directory.claim(this.cpu, line);
  }
}
