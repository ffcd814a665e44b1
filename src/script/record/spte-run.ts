/**
 * SPTE changes as recordings hold them: runs of changes to neighbouring entries are folded into one.
 */
import { Word64 } from '../../machine/word64.ts';
import { isLastSpte, isShadowPresent, type Spte, sptePfn } from '../../mmu/spte.ts';

/** A change of one SPTE, or the same change of `n` neighbours, in ascending order. */
export interface SpteRun {
  readonly asId: number;
  /** First gfn that the (first) entry maps. */
  readonly gfn: number;
  readonly level: number;
  readonly old: Spte;
  readonly next: Spte;
  /** Who made it. */
  readonly by: string;
  /** By a fast page fault, without mmu_lock: no tracepoint of SPTE changes reports it. */
  readonly fast: boolean;
  n: number;
  /** Whether the PFN in the old and in the new value moves along with the gfn. Meaningless for n = 1. */
  stepOld: boolean;
  stepNew: boolean;
}

const PFN_LO = 0xfffff000 | 0;
const PFN_HI = 0x000fffff;
const PAGES_LO = 2 ** 20;

/** The entry without its PFN. */
export function spteBits(spte: Spte): Word64 {
  return new Word64(spte.lo & ~PFN_LO, spte.hi & ~PFN_HI);
}

/** The entry with its PFN moved by `pages`. */
export function shiftPfn(spte: Spte, pages: number): Spte {
  if (pages === 0) return spte;
  const pfn = sptePfn(spte) + pages;
  const high = Math.floor(pfn / PAGES_LO);
  return new Word64((spte.lo & ~PFN_LO) | ((pfn - high * PAGES_LO) << 12), (spte.hi & ~PFN_HI) | high);
}

/** How the value at distance `pages` relates to `spte`: the same, moved along, or neither. */
function stepBetween(spte: Spte, later: Spte, pages: number): 'same' | 'moved' | undefined {
  if (((spte.lo ^ later.lo) & ~PFN_LO) !== 0 || ((spte.hi ^ later.hi) & ~PFN_HI) !== 0) return undefined;
  const distance = sptePfn(later) - sptePfn(spte);
  if (distance === 0) return 'same';
  return distance === pages ? 'moved' : undefined;
}

/** Adds `change`, of one entry, to the end of `run` if it continues it. `span`: pages that one entry maps. */
export function extendRun(run: SpteRun, change: SpteRun, span: number): boolean {
  const pages = run.n * span;
  if (change.gfn !== run.gfn + pages || change.level !== run.level || change.asId !== run.asId) return false;
  if (change.by !== run.by || change.fast || run.fast) return false;
  const old = stepBetween(run.old, change.old, pages);
  const next = stepBetween(run.next, change.next, pages);
  if (old === undefined || next === undefined) return false;
  if (run.n === 1) {
    run.stepOld = old === 'moved';
    run.stepNew = next === 'moved';
  } else if (run.stepOld !== (old === 'moved') || run.stepNew !== (next === 'moved')) {
    return false;
  }
  run.n++;
  return true;
}

/** Bits whose changes have names, lowest first. */
interface NamedBit {
  readonly name: string;
  readonly mask: Word64;
}

/** Names what a change does: `map_leaf`, `bits-W`, … */
export class ChangeKinds {
  readonly #frozen: Spte;
  readonly #isMmio: (spte: Spte) => boolean;
  readonly #bits: readonly NamedBit[];

  constructor(options: { frozen: Spte; isMmio: (spte: Spte) => boolean; bits: readonly NamedBit[] }) {
    this.#frozen = options.frozen;
    this.#isMmio = options.isMmio;
    this.#bits = options.bits;
  }

  kindOf(change: { readonly old: Spte; readonly next: Spte; readonly level: number }): string {
    const { old, next, level } = change;
    const from = this.#shape(old, level);
    const to = this.#shape(next, level);
    if (to === 'frozen') return `freeze_${from}`;
    if (to === 'mmio') return from === 'mmio' ? 'mmio_update' : 'mmio_install';
    if (to === 'nonpresent') return `zap_${from}`;
    if (to === 'table') return from === 'leaf' ? 'split_huge' : 'link_table';
    if (from === 'table') return 'replace_table_by_huge_leaf';
    return from === 'leaf' ? `bits${this.#changedBits(old, next)}` : 'map_leaf';
  }

  #shape(spte: Spte, level: number): 'frozen' | 'mmio' | 'nonpresent' | 'table' | 'leaf' {
    if (spte.lo === this.#frozen.lo && spte.hi === this.#frozen.hi) return 'frozen';
    if (isShadowPresent(spte)) return isLastSpte(spte, level) ? 'leaf' : 'table';
    return this.#isMmio(spte) ? 'mmio' : 'nonpresent';
  }

  #changedBits(old: Spte, next: Spte): string {
    const words = this.#bits.flatMap(({ name, mask }) => {
      const before = ((old.lo & mask.lo) | (old.hi & mask.hi)) !== 0;
      const after = ((next.lo & mask.lo) | (next.hi & mask.hi)) !== 0;
      return before === after ? [] : [`${after ? '+' : '-'}${name}`];
    });
    return words.join(',');
  }
}
