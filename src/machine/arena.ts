/**
 * Laying out the arena: every structure that threads share gets its place here, once, by pure arithmetic, so that each
 * worker computes the same addresses from the same configuration.
 */
import type { Address } from './point.ts';

/** A cache line, in 32-bit words. */
export const LINE_WORDS = 16;

/** A named stretch of the arena. */
export interface Region {
  readonly name: string;
  readonly base: Address;
  readonly words: number;
}

export class ArenaLayout {
  readonly regions: Region[] = [];
  /** Address 0 stays free: it is the null pointer of every list. */
  #next = LINE_WORDS;

  /** Words used so far. */
  get words(): number {
    return this.#next;
  }

  /** Reserves `words` 32-bit words that begin on a cache line, and names them for reports. */
  reserve(name: string, words: number, align = LINE_WORDS): Address {
    const base = (Math.ceil(this.#next / align) * align) as Address;
    this.regions.push({ name, base, words });
    this.#next = base + words;
    return base;
  }

  /** The region that holds `a`, for messages. */
  find(a: Address): Region | undefined {
    return this.regions.find((r) => a >= r.base && a < r.base + r.words);
  }
}
