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

/** Where an SPTE is. */
export interface SptePlace {
  readonly asId: number;
  readonly gfn: number;
  readonly level: number;
}

/** A table page that is linked. */
interface TablePair {
  readonly expected: number;
  readonly got: number;
  readonly place: SptePlace;
  /** A table above it was unlinked: it is going away, whether the recording shows that or not. */
  orphan: boolean;
}

export class Renaming {
  readonly #span: (level: number) => number;
  readonly #lossy: boolean;
  readonly #tables = new Map<number, TablePair>();
  readonly #tablesBack = new Map<number, TablePair>();
  /** By level. */
  readonly #frames: readonly Pairs[] = [new Pairs(), new Pairs(), new Pairs(), new Pairs()];
  #epoch = 0;

  /**
   * @param span pages that an entry of a level maps
   * @param lossy the recording was made with a filter: tables may have gone without a trace
   */
  constructor(span: (level: number) => number, lossy = false) {
    this.#span = span;
    this.#lossy = lossy;
  }

  /** The host gave pages back, or may have: from now on they may turn up anywhere. */
  hostChanged(): void {
    this.#epoch++;
  }

  /** Whether two values that an entry had are the same but for names; the entry has another one now. */
  matchesOld(expected: Spte, got: Spte, place: SptePlace): boolean {
    if (!sameBits(expected, got)) return false;
    if (!isShadowPresent(expected)) return true;
    if (isLastSpte(expected, place.level)) return this.#sameFrame(sptePfn(expected), sptePfn(got), place.level);
    const pair = this.#tables.get(sptePfn(expected));
    const unpaired = pair === undefined ? this.#tablesBack.has(sptePfn(got)) : pair.got !== sptePfn(got);
    if (unpaired && !this.#lossy) return false;
    if (pair !== undefined) this.#forget(pair);
    this.#orphanBelow(place);
    return true;
  }

  /** Whether two values that an entry has from now on are the same but for names. */
  matchesNew(expected: Spte, got: Spte, place: SptePlace): boolean {
    if (!sameBits(expected, got)) return false;
    if (!isShadowPresent(expected)) return true;
    if (isLastSpte(expected, place.level)) return this.#sameFrame(sptePfn(expected), sptePfn(got), place.level);
    for (const pair of [this.#tables.get(sptePfn(expected)), this.#tablesBack.get(sptePfn(got))]) {
      if (pair?.orphan === false && !this.#lossy) return false;
      if (pair !== undefined) this.#forget(pair);
    }
    const pair = { expected: sptePfn(expected), got: sptePfn(got), place, orphan: false };
    this.#tables.set(pair.expected, pair);
    this.#tablesBack.set(pair.got, pair);
    return true;
  }

  #forget(pair: TablePair): void {
    this.#tables.delete(pair.expected);
    this.#tablesBack.delete(pair.got);
  }

  #orphanBelow({ asId, gfn, level }: SptePlace): void {
    const end = gfn + this.#span(level);
    for (const pair of this.#tables.values()) {
      const { place } = pair;
      if (place.asId === asId && place.level < level && place.gfn >= gfn && place.gfn < end) pair.orphan = true;
    }
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

/** Whether two values are equal apart from the PFN of a present one. */
function sameBits(expected: Spte, got: Spte): boolean {
  if (!isShadowPresent(expected) || !isShadowPresent(got)) return expected.lo === got.lo && expected.hi === got.hi;
  return ((expected.lo ^ got.lo) & 0xfff) === 0 && ((expected.hi ^ got.hi) & 0xfff00000) === 0;
}
