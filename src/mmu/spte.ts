/**
 * SPTE values: predicates and makers (kernel: arch/x86/kvm/mmu/spte.{h,c}).
 *
 * An SPTE is a 64-bit word. `SpteLayout` joins a CPU's format with a kernel generation and the features in use, and is the
 * only place that knows bits. Left out: encryption masks (SME C-bit, TDX shared bit) and the L1TF protection of
 * non-present bits, which no operation of the model can tell from a plain PFN.
 */
import { InvariantError } from '../machine/invariant.ts';
import { and64, andNot64, any64, bit64, equal64, or64, Word64, ZERO64 } from '../machine/word64.ts';
import type { KernelGeneration } from './generation.ts';
import { type Gfn, type Level, type Pfn, PG_LEVEL_4K } from './level.ts';
import type { SpteFormat } from './spte-format.ts';

export type Spte = Word64;

/** Rights asked for or granted: the kernel's ACC_* masks. */
export const Access = { exec: 1, write: 2, user: 4, all: 7 } as const;

const W = 1 << 1;
const PS = 1 << 7;
const MMU_PRESENT = 1 << 11;
/** Bits 52-53: 0 A/D enabled, 1 disabled, 2 write-protect only. In the high half: 20-21. */
const AD_TYPE = 3 << 20;
const AD_DISABLED = 1 << 20;
const AD_WRPROT_ONLY = 2 << 20;
/** PFN bits 12-51: 20 bits in either half. */
const PFN_LO = 0xfffff000 | 0;
const PFN_HI = 0x000fffff;
/** FROZEN_SPTE (REMOVED_SPTE until 6.10), apart from the non-present value: bits 5, 7, 8 and 10. */
const FROZEN_LO = 0x5a0;
/** Width of a memslot generation in MMIO SPTEs: 8 bits from bit 3, 11 from bit 52. */
const MMIO_GEN_LOW_BITS = 8;
export const MMIO_GEN_BITS = 19;

const PAGES_LO = 2 ** 20;

/** The address bits of a PFN, as a word to or into an SPTE. */
export function pfnBits(pfn: Pfn): Word64 {
  const high = Math.floor(pfn / PAGES_LO);
  return new Word64((pfn - high * PAGES_LO) << 12, high);
}

export function sptePfn(spte: Spte): Pfn {
  return ((spte.hi & PFN_HI) * PAGES_LO + (spte.lo >>> 12)) as Pfn;
}

/** Whether KVM's software says "present": not what the hardware looks at. */
export function isShadowPresent(spte: Spte): boolean {
  return (spte.lo & MMU_PRESENT) !== 0;
}

export function isLargeSpte(spte: Spte): boolean {
  return (spte.lo & PS) !== 0;
}

/** Whether a present entry at `level` maps memory rather than a table (is_last_spte). */
export function isLastSpte(spte: Spte, level: Level): boolean {
  return level === PG_LEVEL_4K || (spte.lo & PS) !== 0;
}

export function isShadowPresentLeaf(spte: Spte, level: Level): boolean {
  return (spte.lo & MMU_PRESENT) !== 0 && (level === PG_LEVEL_4K || (spte.lo & PS) !== 0);
}

/** Whether the low half alone tells a table, for walks that need no more. */
export function isTableLo(lo: number, level: Level): boolean {
  return (lo & MMU_PRESENT) !== 0 && level > PG_LEVEL_4K && (lo & PS) === 0;
}

/** The page-table page that a low half points to: table PFNs fit into 20 bits. */
export function tablePageLo(lo: number): number {
  return lo >>> 12;
}

export function isWritable(spte: Spte): boolean {
  return (spte.lo & W) !== 0;
}

/** The page-table page that a non-leaf SPTE links. */
export function spteToChildPage(spte: Spte): number {
  return spte.lo >>> 12;
}

export function spteAdEnabled(spte: Spte): boolean {
  return (spte.hi & AD_TYPE) !== AD_DISABLED;
}

export function spteAdNeedWriteProtect(spte: Spte): boolean {
  return (spte.hi & AD_TYPE) !== 0;
}

/** Clears W alone: a write-protected page stays MMU-writable. */
export function withoutWritable(spte: Spte): Spte {
  return new Word64(spte.lo & ~W, spte.hi);
}

export const WRITABLE_BIT: Word64 = new Word64(W, 0);

/** What a leaf is made from. */
export interface MakeSpte {
  readonly level: Level;
  readonly pfn: Pfn;
  /** Rights of the role, as `Access` bits; exec and write may be taken away below. */
  readonly access: number;
  readonly hostWritable: boolean;
  /** Write-tracked gfn: no W, no MMU-writable. */
  readonly writeTracked: boolean;
  readonly prefetch: boolean;
  readonly old: Spte;
  /** Whether the root has A/D bits off or must use write protection. */
  readonly adType: AdType;
}

export const AdType = { enabled: 0, disabled: AD_DISABLED, writeProtectOnly: AD_WRPROT_ONLY } as const;
export type AdType = (typeof AdType)[keyof typeof AdType];

export interface SpteFeatures {
  /** Hardware A/D bits in use (kvm_intel.eptad, always on for NPT). */
  readonly adBits: boolean;
  /** nx_huge_pages: executable huge pages are not allowed. */
  readonly nxHugePages: boolean; // may change while the VM runs: a getter
}

export class SpteLayout {
  readonly format: SpteFormat;
  readonly generation: KernelGeneration;
  readonly features: SpteFeatures;
  /** SHADOW_NONPRESENT_VALUE. */
  readonly nonpresent: Spte;
  /** FROZEN_SPTE. */
  readonly frozen: Spte;
  readonly accessed: Word64;
  readonly dirty: Word64;
  readonly mmuWritable: Word64;
  readonly hostWritable: Word64;
  readonly #present: Word64;
  readonly #writable: Word64;
  readonly #protection: Word64;

  constructor(format: SpteFormat, generation: KernelGeneration, features: SpteFeatures) {
    this.format = format;
    this.generation = generation;
    this.features = features;
    this.nonpresent = generation.shadowNonpresent;
    this.frozen = or64(this.nonpresent, new Word64(FROZEN_LO, 0));
    this.accessed = format.accessed;
    this.dirty = format.dirty;
    this.mmuWritable = format.mmuWritable;
    this.hostWritable = format.hostWritable;
    // Since 6.10 every present EPT entry suppresses #VE, which is bit 63: the same bit that non-present entries have.
    const suppressVe = format.name === 'ept' ? generation.shadowNonpresent : ZERO64;
    this.#present = or64(or64(format.present, new Word64(MMU_PRESENT, 0)), suppressVe);
    this.#writable = or64(WRITABLE_BIT, format.mmuWritable);
    this.#protection = or64(or64(format.present, WRITABLE_BIT), format.executable);
  }

  isFrozen(spte: Spte): boolean {
    return spte.lo === this.frozen.lo && spte.hi === this.frozen.hi;
  }

  isMmio(spte: Spte): boolean {
    const { mmioMask, mmioValue } = this.format;
    return (spte.lo & MMU_PRESENT) === 0 && equal64(and64(spte, mmioMask), mmioValue);
  }

  isMmuWritable(spte: Spte): boolean {
    return any64(spte, this.mmuWritable);
  }

  isHostWritable(spte: Spte): boolean {
    return any64(spte, this.hostWritable);
  }

  isExecutable(spte: Spte): boolean {
    const { executable, noExecute } = this.format;
    return executable === ZERO64 ? !any64(spte, noExecute) : any64(spte, executable);
  }

  /** Whether the processor would allow a read. */
  isReadable(spte: Spte): boolean {
    return any64(spte, this.format.present);
  }

  isAccessTracked(spte: Spte): boolean {
    return (
      this.format.accessTrack.mask !== ZERO64 &&
      !spteAdEnabled(spte) &&
      (spte.lo & MMU_PRESENT) !== 0 &&
      !any64(spte, this.#protection)
    );
  }

  isAccessed(spte: Spte): boolean {
    return spteAdEnabled(spte) ? any64(spte, this.accessed) : !this.isAccessTracked(spte);
  }

  isDirty(spte: Spte): boolean {
    return spteAdEnabled(spte) ? any64(spte, this.dirty) : isWritable(spte);
  }

  /**
   * Whether somebody without mmu_lock may change the SPTE at any time: the CPU (A, D) or a fast page fault (W, restored
   * access). Such an SPTE must be exchanged even where mmu_lock is held for write.
   */
  isVolatile(spte: Spte): boolean {
    if (!isWritable(spte) && this.isMmuWritable(spte)) return true;
    if (this.isAccessTracked(spte)) return true;
    return spteAdEnabled(spte) && (!any64(spte, this.accessed) || (isWritable(spte) && !any64(spte, this.dirty)));
  }

  /** Whether a translation through `spte` allows the access. */
  isAccessAllowed(spte: Spte, write: boolean, exec: boolean): boolean {
    if (exec) return this.isExecutable(spte) && this.isReadable(spte);
    if (write) return isWritable(spte) && this.isReadable(spte);
    return this.isReadable(spte);
  }

  /** Marks for access tracking: R and X are saved, R, W and X cleared; with A/D bits only A is cleared. */
  markForAccessTrack(spte: Spte): Spte {
    if (spteAdEnabled(spte)) return andNot64(spte, this.accessed);
    if (this.isAccessTracked(spte)) return spte;
    const { mask, shift } = this.format.accessTrack;
    // The saved bits are R and X, so a shift by 54 lands in the high half at 22.
    const saved = new Word64(0, (spte.lo & mask.lo) << (shift - 32));
    if (any64(spte, new Word64(0, mask.lo << (shift - 32))))
      throw new InvariantError('access-track-saved', `saved bits set in ${spte}`);
    return or64(andNot64(spte, this.#protection), saved);
  }

  restoreAccessTrack(spte: Spte): Spte {
    const { mask, shift } = this.format.accessTrack;
    const saved = new Word64(0, mask.lo << (shift - 32));
    return or64(andNot64(spte, saved), new Word64((spte.hi >>> (shift - 32)) & mask.lo, 0));
  }

  /** A link to a page-table page: all rights, A set where A/D bits are used (make_nonleaf_spte). */
  makeNonleaf(page: number, adDisabled: boolean): Spte {
    const rights = or64(or64(WRITABLE_BIT, this.format.executable), this.format.user);
    const ad = adDisabled ? new Word64(0, AD_DISABLED) : this.accessed;
    return or64(or64(or64(this.#present, rights), ad), pfnBits(page as Pfn));
  }

  /** A leaf (make_spte), apart from marking the gfn dirty in the log, which is the caller's. */
  makeLeaf(m: MakeSpte): Spte {
    const { format } = this;
    let lo = this.#present.lo | format.user.lo | format.memoryType.lo;
    let hi = this.#present.hi | format.user.hi | m.adType;
    const adEnabled = m.adType !== AdType.disabled;
    if (adEnabled && !m.prefetch) {
      lo |= this.accessed.lo;
      hi |= this.accessed.hi;
    }
    const exec = (m.access & Access.exec) !== 0 && !(m.level > PG_LEVEL_4K && this.features.nxHugePages);
    const rights = exec ? format.executable : format.noExecute;
    lo |= rights.lo;
    hi |= rights.hi;
    if (m.level > PG_LEVEL_4K) lo |= PS;
    if (m.hostWritable) {
      lo |= this.hostWritable.lo;
      hi |= this.hostWritable.hi;
      if ((m.access & Access.write) !== 0 && !m.writeTracked) {
        lo |= this.#writable.lo;
        hi |= this.#writable.hi;
        // Until 6.13 an old leaf that was writable skips the rest of the function, and with it D.
        const wasWritable = isWritable(m.old) && isLastSpte(m.old, m.level);
        if (adEnabled && (this.generation.dirtyOnEveryWritable || !wasWritable)) {
          lo |= this.dirty.lo;
          hi |= this.dirty.hi;
        }
      }
    }
    const pfn = pfnBits(m.pfn);
    const spte = new Word64(lo | pfn.lo, hi | pfn.hi);
    return m.prefetch ? this.markForAccessTrack(spte) : spte;
  }

  /**
   * Child number `i` of a huge SPTE that is split (make_small_spte): the same bits, its share of the frames; at 4K without
   * the huge bit, and executable again where only the huge page had to lose that.
   */
  makeSplitChild(huge: Spte, level: Level, pages: number, roleExec: boolean): Spte {
    if (!isShadowPresentLeaf(huge, level)) throw new InvariantError('split-not-huge', `split of ${huge} at level ${level}`);
    const pfn = pfnBits((sptePfn(huge) + pages) as Pfn);
    let lo = (huge.lo & ~PFN_LO) | pfn.lo;
    let hi = (huge.hi & ~PFN_HI) | pfn.hi;
    if (level - 1 === PG_LEVEL_4K) {
      lo &= ~PS;
      if (roleExec && this.features.nxHugePages) {
        lo |= this.format.executable.lo;
        hi = (hi | this.format.executable.hi) & ~this.format.noExecute.hi;
      }
    }
    return new Word64(lo, hi);
  }

  /** The huge leaf over a table whose child leaf is `small` (make_huge_spte, 6.13). */
  makeHuge(small: Spte, level: Level, index: number, span: number): Spte {
    if (!isShadowPresent(small)) throw new InvariantError('huge-from-nonpresent', `huge leaf from ${small}`);
    const pfn = pfnBits((sptePfn(small) - index * span) as Pfn);
    let lo = (small.lo & ~PFN_LO) | pfn.lo | PS;
    let hi = (small.hi & ~PFN_HI) | pfn.hi;
    if (level > PG_LEVEL_4K && this.features.nxHugePages) {
      lo &= ~this.format.executable.lo;
      hi |= this.format.noExecute.hi;
    }
    return new Word64(lo, hi);
  }

  /** The read-only 4K leaf for another page, made from the leaf that was there (kvm_mmu_changed_pte_notifier_make_spte). */
  makeChangedPte(old: Spte, pfn: Pfn): Spte {
    const address = pfnBits(pfn);
    const kept = new Word64((old.lo & ~PFN_LO) | address.lo, (old.hi & ~PFN_HI) | address.hi);
    return this.markForAccessTrack(andNot64(andNot64(kept, this.#writable), this.hostWritable));
  }

  /** An MMIO SPTE: gfn, rights and memslot generation in bits that make the hardware fault (make_mmio_spte). */
  makeMmio(gfn: Gfn, access: number, generation: number): Spte {
    const { mmioValue, mmioAccess } = this.format;
    const gpa = pfnBits(gfn as number as Pfn);
    const rights = (access & Access.write ? W : 0) | (access & Access.user ? 1 << 2 : 0);
    const low = (generation & ((1 << MMIO_GEN_LOW_BITS) - 1)) << 3;
    const high = ((generation >>> MMIO_GEN_LOW_BITS) & 0x7ff) << 20;
    return new Word64(mmioValue.lo | (rights & mmioAccess.lo) | gpa.lo | low, mmioValue.hi | gpa.hi | high);
  }

  mmioGeneration(spte: Spte): number {
    return ((spte.lo >>> 3) & 0xff) | (((spte.hi >>> 20) & 0x7ff) << MMIO_GEN_LOW_BITS);
  }

  /** Breaks the run where a leaf's writable bits form a combination that KVM never makes (check_spte_writable_invariants). */
  checkWritableInvariants(spte: Spte): void {
    if (this.isMmuWritable(spte)) {
      if (!this.isHostWritable(spte))
        throw new InvariantError('mmu-writable-not-host-writable', `${spte} is MMU-writable, not host-writable`);
    } else {
      if (isWritable(spte)) throw new InvariantError('writable-not-mmu-writable', `${spte} is writable, not MMU-writable`);
    }
  }

  /** The names of the bits that are set, for messages. */
  describe(spte: Spte): string {
    return this.format.bits
      .filter(({ bit }) => any64(spte, bit64(bit)))
      .map(({ name }) => name)
      .join('|');
  }
}
