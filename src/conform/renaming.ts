/**
 * The renaming of frames: the recorded machine had other pages than the simulated one, but where it had the same page twice,
 * so must we, and where two, two.
 *
 * Page-table pages are paired from the moment that they are linked until they are unlinked. Pages of guest memory are
 * paired for as long as the host keeps them; it may give a page back and use it elsewhere only when it tells the notifier.
 */
import { isLastSpte, isShadowPresent, type Spte, sptePfn } from '../mmu/spte.ts';

interface Pair {
  readonly other: number;
  /** The host's change after which the pair was seen last. */
  epoch: number;
}

/** Pairs of pages of one size, in both directions. */
class Pairs {
  readonly forth = new Map<number, Pair>();
  readonly back = new Map<number, Pair>();

  set(expected: number, got: number, epoch: number): void {
    this.forth.set(expected, { other: got, epoch });
    this.back.set(got, { other: expected, epoch });
  }

  delete(expected: number): void {
    const pair = this.forth.get(expected);
    if (pair === undefined) return;
    this.forth.delete(expected);
    this.back.delete(pair.other);
  }
}

export class Renaming {
  readonly #span: (level: number) => number;
  readonly #tables = new Pairs();
  /** By level. */
  readonly #frames: readonly Pairs[] = [new Pairs(), new Pairs(), new Pairs(), new Pairs()];
  #epoch = 0;

  /** `span`: pages that an entry of a level maps. */
  constructor(span: (level: number) => number) {
    this.#span = span;
  }

  /** The host gave pages back, or may have: from now on they may turn up anywhere. */
  hostChanged(): void {
    this.#epoch++;
  }

  /** Whether two values of one entry are the same but for names. */
  matches(expected: Spte, got: Spte, level: number): boolean {
    if (!isShadowPresent(expected) || !isShadowPresent(got)) return expected.lo === got.lo && expected.hi === got.hi;
    if (((expected.lo ^ got.lo) & 0xfff) !== 0 || ((expected.hi ^ got.hi) & 0xfff00000) !== 0) return false;
    return isLastSpte(expected, level)
      ? this.#sameFrame(sptePfn(expected), sptePfn(got), level)
      : this.#sameTable(sptePfn(expected), sptePfn(got));
  }

  /** Notes that the old value is gone: if it was a table, its page may be used again. */
  replaced(expected: Spte, level: number): void {
    if (isShadowPresent(expected) && !isLastSpte(expected, level)) this.#tables.delete(sptePfn(expected));
  }

  #sameTable(expected: number, got: number): boolean {
    const { forth, back } = this.#tables;
    const pair = forth.get(expected);
    const reverse = back.get(got);
    if (pair === undefined && reverse === undefined) {
      this.#tables.set(expected, got, this.#epoch);
      return true;
    }
    return pair?.other === got && reverse?.other === expected;
  }

  #sameFrame(expected: number, got: number, level: number): boolean {
    // A part of a huge page that was seen goes where its huge page went.
    for (let above = this.#frames.length - 1; above > level; above--) {
      const inside = expected % this.#span(above);
      const huge = this.#frames[above].forth.get(expected - inside);
      if (huge === undefined || huge.epoch < this.#epoch) continue;
      return huge.other + inside === got;
    }
    const pairs = this.#frames[level];
    const pair = pairs.forth.get(expected);
    const reverse = pairs.back.get(got);
    const known = pair?.other === got && reverse?.other === expected;
    const old = (p: Pair | undefined): boolean => p === undefined || p.epoch < this.#epoch;
    if (!known && !(old(pair) && old(reverse))) return false;
    if (!known) {
      pairs.delete(expected);
      if (reverse !== undefined) pairs.delete(reverse.other);
    }
    pairs.set(expected, got, this.#epoch);
    return true;
  }
}
