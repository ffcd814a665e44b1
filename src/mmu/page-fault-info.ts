/** One page fault on its way through the MMU (kernel: struct kvm_page_fault, arch/x86/kvm/mmu/mmu_internal.h). */
import { asGfn, asPfn, type Gfn, type Level, MAX_HUGEPAGE_LEVEL, type Pfn, PG_LEVEL_4K } from './level.ts';
import type { Memslot } from './memslot.ts';

/** Error code of a nested page fault: x86 page-fault bits. */
export const PfErr = { present: 1, write: 2, user: 4, reserved: 8, fetch: 16 } as const;

/** How a fault ended (kernel: RET_PF_*). */
export const RetPf = {
  /** Go on with the next stage; never leaves the MMU. */
  continue: 0,
  /** Let the guest try again. */
  retry: 1,
  /** Emulate the instruction: MMIO, or a page that must stay protected. */
  emulate: 2,
  /** A write to a page that must stay protected (since 6.12 apart from `emulate`). */
  writeProtected: 3,
  /** The fast path declined; never leaves the MMU. */
  invalid: 4,
  fixed: 5,
  /** Somebody else had fixed it. */
  spurious: 6,
} as const;
export type RetPf = (typeof RetPf)[keyof typeof RetPf];

/** Why a fault was retried, for the statistics. */
export const RetryReason = {
  none: 0,
  slotInvalid: 1,
  unlockedInvalidate: 2,
  staleRoot: 3,
  staleRange: 4,
  staleSeq: 5,
  frozen: 6,
  cmpxchg: 7,
  lostLevel: 8,
} as const;
export type RetryReason = (typeof RetryReason)[keyof typeof RetryReason];

/** A fault, reused from one to the next by its vCPU: allocating none keeps the fault path cheap. */
export class PageFault {
  gfn: Gfn = asGfn(0);
  /** The gfn as it faulted; `gfn` is rounded to what is mapped. */
  errorCode = 0;
  write = false;
  exec = false;
  present = false;
  reserved = false;
  prefetch = false;
  /** nx_huge_pages applies: this fetch must not be served by a huge page. */
  hugePageDisallowed = false;
  maxLevel: Level = MAX_HUGEPAGE_LEVEL;
  reqLevel: Level = PG_LEVEL_4K;
  goalLevel: Level = PG_LEVEL_4K;
  slot: Memslot | null = null;
  pfn: Pfn = asPfn(0);
  mapWritable = false;
  /** mmu_invalidate_seq as read before the PFN was looked up. */
  mmuSeq = 0;
  /** Address space of the vCPU's root. */
  asId = 0;
  retryReason: RetryReason = RetryReason.none;
  writeFaultToReadonly = false;

  /** Prepares for a new fault at `gfn`. */
  reset(gfn: Gfn, errorCode: number, prefetch: boolean, asId: number, nxHugePages: boolean): void {
    this.gfn = gfn;
    this.errorCode = errorCode;
    this.write = (errorCode & PfErr.write) !== 0;
    this.exec = (errorCode & PfErr.fetch) !== 0;
    this.present = (errorCode & PfErr.present) !== 0;
    this.reserved = (errorCode & PfErr.reserved) !== 0;
    this.prefetch = prefetch;
    this.hugePageDisallowed = this.exec && nxHugePages;
    this.maxLevel = MAX_HUGEPAGE_LEVEL;
    this.reqLevel = PG_LEVEL_4K;
    this.goalLevel = PG_LEVEL_4K;
    this.slot = null;
    this.pfn = asPfn(0);
    this.mapWritable = false;
    this.mmuSeq = 0;
    this.asId = asId;
    this.retryReason = RetryReason.none;
    this.writeFaultToReadonly = false;
  }
}
