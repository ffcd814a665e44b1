/**
 * The last SPTE changes of each thread: what a report of a broken invariant shows of a word's history.
 *
 * Threads do not agree on an order, and reading a clock at each change would cost more than the change. A change carries its
 * thread's last clock reading instead, whenever that was taken: within a thread the order is exact, between threads it is
 * as good as that clock.
 */
import type { Word64 } from '../../machine/word64.ts';
import { CHANGE_WORDS, CHANGES_KEPT, LiveField, type StatRegion } from './stat-region.ts';

/** Words of a change. */
const ChangeWord = { gfn: 0, gfnHigh: 1, kind: 2, clock: 3, oldLo: 4, oldHi: 5, newLo: 6, newHi: 7 } as const;

/** How an SPTE changed: under mmu_lock with bookkeeping, by the fast path, or from and to frozen. */
export const CHANGE_KINDS = ['changed', 'fast', 'frozen', 'thawed'] as const;
export type ChangeKind = (typeof CHANGE_KINDS)[number];

export interface SpteChange {
  readonly thread: number;
  readonly kind: ChangeKind;
  readonly gfn: number;
  readonly level: number;
  readonly asId: number;
  readonly old: { readonly lo: number; readonly hi: number };
  readonly next: { readonly lo: number; readonly hi: number };
  /** Microseconds, modulo 2 ** 32, of the thread's last look at its clock before the change. */
  readonly clockUs: number;
}

export class SpteChangeRing {
  readonly #words: Uint32Array;
  readonly #doubles: Float64Array;
  readonly #first: number;
  readonly #countAt: number;
  #count = 0;
  /** Microseconds, as 32 bits: set by whoever reads the clock. */
  #clockUs = 0;

  constructor(region: StatRegion, thread: number) {
    this.#words = region.words;
    this.#doubles = region.doubles;
    this.#first = 2 * region.offset(thread, 'changes');
    this.#countAt = region.offset(thread, 'live') + LiveField.changes;
  }

  /** The thread has looked at its clock, in nanoseconds. */
  setClock(now: number): void {
    this.#clockUs = Math.floor(now / 1000) | 0;
  }

  /** `kind` is an index into {@link CHANGE_KINDS}. */
  record(kind: number, asId: number, gfn: number, level: number, old: Word64, next: Word64): void {
    const words = this.#words;
    const at = this.#first + (this.#count & (CHANGES_KEPT - 1)) * CHANGE_WORDS;
    words[at + ChangeWord.gfn] = gfn;
    words[at + ChangeWord.gfnHigh] = gfn < 2 ** 32 ? 0 : gfn / 2 ** 32;
    words[at + ChangeWord.kind] = kind | (level << 8) | (asId << 16);
    words[at + ChangeWord.clock] = this.#clockUs;
    words[at + ChangeWord.oldLo] = old.lo;
    words[at + ChangeWord.oldHi] = old.hi;
    words[at + ChangeWord.newLo] = next.lo;
    words[at + ChangeWord.newHi] = next.hi;
    this.#doubles[this.#countAt] = ++this.#count;
  }
}

/** The changes that thread number `thread` remembers, oldest first. */
export function readSpteChanges(region: StatRegion, thread: number): SpteChange[] {
  if (!region.measured) return [];
  const { doubles, words } = region;
  const count = doubles[region.offset(thread, 'live') + LiveField.changes];
  const first = 2 * region.offset(thread, 'changes');
  const changes: SpteChange[] = [];
  for (let i = Math.max(0, count - CHANGES_KEPT); i < count; i++) {
    const at = first + (i % CHANGES_KEPT) * CHANGE_WORDS;
    const kind = words[at + ChangeWord.kind];
    changes.push({
      thread,
      kind: CHANGE_KINDS[kind & 0xff],
      gfn: words[at + ChangeWord.gfnHigh] * 2 ** 32 + words[at + ChangeWord.gfn],
      level: (kind >>> 8) & 0xff,
      asId: (kind >>> 16) & 0xff,
      old: { lo: words[at + ChangeWord.oldLo] | 0, hi: words[at + ChangeWord.oldHi] | 0 },
      next: { lo: words[at + ChangeWord.newLo] | 0, hi: words[at + ChangeWord.newHi] | 0 },
      clockUs: words[at + ChangeWord.clock],
    });
  }
  return changes;
}
