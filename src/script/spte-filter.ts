/**
 * The filter of the tracepoint of SPTE changes, as a script may set it: `new_spte!=VALUE`, or `0` for none.
 */
import { fromBigInt } from '../machine/word64.ts';
import type { Spte } from '../mmu/spte.ts';

export class SpteFilter {
  readonly #hidden: Spte | null;
  readonly #clears: boolean;

  /** `text`: what is written to the filter file. Anything but the two forms changes nothing. */
  constructor(text: string) {
    const match = /new_spte\s*!=\s*(0x[0-9a-f]+|\d+)/i.exec(text);
    this.#hidden = match === null ? null : fromBigInt(BigInt(match[1]));
    this.#clears = text.trim() === '0';
  }

  /** The test after the write, given the one before it. */
  wanted(before: (next: Spte) => boolean): (next: Spte) => boolean {
    if (this.#clears) return () => true;
    const hidden = this.#hidden;
    if (hidden === null) return before;
    return (next) => next.lo !== hidden.lo || next.hi !== hidden.hi;
  }
}
