/**
 * Kernel generations as records of named behaviours.
 *
 * The MMU is written once; where released kernels differ, the code asks the record of its generation for the behaviour by
 * name, and never for a version number.
 */
import { Word64, ZERO64 } from '../machine/word64.ts';

export type KernelName = '5.15' | '5.18' | '6.1' | '6.12' | '6.13';

export interface KernelGeneration {
  readonly name: KernelName;
  /** SHADOW_NONPRESENT_VALUE: bit 63 alone since 6.10, which keeps EPT violations from becoming #VE. */
  readonly shadowNonpresent: Word64;
  /** What the frozen value is called: REMOVED_SPTE until 6.10, FROZEN_SPTE since. */
  readonly frozenName: 'REMOVED_SPTE' | 'FROZEN_SPTE';
  /** A fault that needs a smaller page splits the huge one (6.2), or zaps it and links an empty table. */
  readonly hugeOnFault: 'split' | 'zap';
  /**
   * With nx_huge_pages, where a fault maps smaller than it could because a table is there already: only where the table
   * exists for want of an executable huge page (6.2), or wherever there is one, whatever it came from.
   */
  readonly nxKeeps: 'nx-tables' | 'all-tables';
  /** Levels at which a root is zapped, one walk each; 'root' is the root's own level (5.18: 1G and root; 6.9: from 4K up). */
  readonly rootZapPasses: readonly (number | 'root')[];
  /** Whether the bookkeeping of a frozen SPTE follows the final store (6.10) or the freeze. */
  readonly bookkeepingAfterFrozen: boolean;
  /**
   * Who zaps an invalidated root: a worker per root (5.18 to 6.5), or the caller (6.6). Earlier ones: the caller, too. The
   * longterm 6.1 took the change of 6.6 over (recorded on 6.1.190), and with it the reference of the MMU's own.
   */
  readonly rootZapBy: 'worker' | 'caller';
  /**
   * Whether a root is zapped like any other range (until 5.17): each entry frozen and flushed under the read lock, and a root
   * whose last reference goes only after it left the list.
   */
  readonly rootZapFlushes: boolean;
  /** Whether the last put of a valid root zaps it (until 6.3) or the MMU holds a reference of its own (6.4). */
  readonly zapRootOnLastPut: boolean;
  /** mmu_lock mode in which a root is allocated: read since 6.9. */
  readonly rootAllocLock: 'read' | 'write';
  /** Whether eager splitting first tries to allocate without sleeping under the lock (until 6.11), or drops it at once. */
  readonly splitAllocatesUnderLock: boolean;
  /** The end that CLEAR hands to the splitter: one past the last page (6.8), or the last page itself: the old off-by-one. */
  readonly clearSplitEnd: 'exclusive' | 'inclusive';
  /** Whether A and D bits are cleared by one atomic and (6.4), or by an exchange of the whole SPTE. */
  readonly clearBitsByFetchAnd: boolean;
  /** Whether a new writable leaf gets D even when the SPTE it replaces was writable already (6.13). */
  readonly dirtyOnEveryWritable: boolean;
  /**
   * How huge pages come back when logging ends: tables are zapped (until 6.12), or replaced by the huge leaf in place (6.13). They
   * did not before 4.1: no modelled kernel is that old, but `behaviours` may be.
   */
  readonly recoverHugePages: 'zap' | 'in-place' | 'never';
  /** Whether an invalidation is recorded as a range of gfns (6.8) or of host addresses. */
  readonly invalidateRangeIn: 'gfn' | 'hva';
  /** Whether faults test for an invalidation before they take mmu_lock (6.8). */
  readonly unlockedRetryTest: boolean;
  /** Whether the notifier has change_pte, which remaps a leaf without zapping it (until 6.9). */
  readonly changePte: boolean;
  /** Whether a write that must stay protected ends as RET_PF_WRITE_PROTECTED (6.12) or RET_PF_EMULATE. */
  readonly writeProtectedResult: boolean;
  /** Whether zapping a leaf of a range removes tables that lie inside it, too (until 5.17). */
  readonly leafZapRemovesTables: boolean;
  /** Whether removing a table flushes its range at once (until 5.17), or leaves the flush to the caller (5.18). */
  readonly tableRemovalFlushes: boolean;
  /** Whether deleting a memslot may zap only its own leaves (KVM_X86_QUIRK_SLOT_ZAP_ALL off, 6.12). */
  readonly slotZapAllQuirk: boolean;
  /** Whether enabling the log flushes only when something was protected (until 5.19) or always (6.0). */
  readonly unconditionalFlushOnEnable: boolean;
  /** Whether clear_flush_young flushes (until 6.12). */
  readonly flushOnAge: boolean;
  /** Whether eager page splitting exists (5.18). */
  readonly eagerPageSplit: boolean;
  /** Whether KVM_PRE_FAULT_MEMORY exists (6.11). */
  readonly preFault: boolean;
  /** Whether a volatile SPTE is exchanged under the write lock (5.18) or stored over. */
  readonly exchangeVolatile: boolean;
  /** Whether yielding tests for progress after the need to reschedule (6.13) or before it. */
  readonly progressTestLast: boolean;
  /** Whether the reset of a new vCPU makes its first guest entry flush the TLB (recorded on 6.12, not on 6.1). */
  readonly flushOnVcpuReset: boolean;
  /** Whether the end of the MMU takes mmu_lock for write to invalidate the roots (longterm 6.1), or needs no lock. */
  readonly lockedTeardown: boolean;
}

const BIT63 = new Word64(0, 1 << 31);

const v5_15: KernelGeneration = {
  name: '5.15',
  shadowNonpresent: ZERO64,
  frozenName: 'REMOVED_SPTE',
  hugeOnFault: 'zap',
  nxKeeps: 'all-tables',
  rootZapPasses: ['root'],
  bookkeepingAfterFrozen: false,
  rootZapBy: 'caller',
  rootZapFlushes: true,
  zapRootOnLastPut: true,
  rootAllocLock: 'write',
  splitAllocatesUnderLock: true,
  clearSplitEnd: 'inclusive',
  clearBitsByFetchAnd: false,
  dirtyOnEveryWritable: false,
  recoverHugePages: 'zap',
  invalidateRangeIn: 'hva',
  unlockedRetryTest: false,
  changePte: true,
  writeProtectedResult: false,
  leafZapRemovesTables: true,
  tableRemovalFlushes: true,
  slotZapAllQuirk: false,
  unconditionalFlushOnEnable: false,
  flushOnAge: true,
  eagerPageSplit: false,
  preFault: false,
  exchangeVolatile: false,
  progressTestLast: false,
  flushOnVcpuReset: false,
  lockedTeardown: false,
};

const v5_18: KernelGeneration = {
  ...v5_15,
  name: '5.18',
  rootZapPasses: [3, 'root'],
  rootZapBy: 'worker',
  rootZapFlushes: false,
  leafZapRemovesTables: false,
  tableRemovalFlushes: false,
  eagerPageSplit: true,
  exchangeVolatile: true,
};

const v6_1: KernelGeneration = {
  ...v5_18,
  name: '6.1',
  unconditionalFlushOnEnable: true,
  rootZapBy: 'caller',
  zapRootOnLastPut: false,
  lockedTeardown: true,
};

const v6_12: KernelGeneration = {
  ...v6_1,
  name: '6.12',
  shadowNonpresent: BIT63,
  frozenName: 'FROZEN_SPTE',
  hugeOnFault: 'split',
  nxKeeps: 'nx-tables',
  rootZapPasses: [1, 2, 3, 'root'],
  bookkeepingAfterFrozen: true,
  rootZapBy: 'caller',
  zapRootOnLastPut: false,
  rootAllocLock: 'read',
  splitAllocatesUnderLock: false,
  clearSplitEnd: 'exclusive',
  clearBitsByFetchAnd: true,
  invalidateRangeIn: 'gfn',
  unlockedRetryTest: true,
  changePte: false,
  writeProtectedResult: true,
  slotZapAllQuirk: true,
  preFault: true,
  flushOnVcpuReset: true,
  lockedTeardown: false,
};

const v6_13: KernelGeneration = {
  ...v6_12,
  name: '6.13',
  dirtyOnEveryWritable: true,
  recoverHugePages: 'in-place',
  flushOnAge: false,
  progressTestLast: true,
};

/** Every modelled generation, oldest first. */
export const KERNELS: Readonly<Record<KernelName, KernelGeneration>> = {
  '5.15': v5_15,
  '5.18': v5_18,
  '6.1': v6_1,
  '6.12': v6_12,
  '6.13': v6_13,
};

export const DEFAULT_KERNEL: KernelName = '6.12';

/** Behaviours that differ from a kernel's: plain data. */
export type KernelBehaviours = Partial<Omit<KernelGeneration, 'name' | 'shadowNonpresent' | 'frozenName'>>;

/** A kernel, but for some of its behaviours: to see what each of them is good for. */
export const generationFor = (kernel: KernelName, behaviours: KernelBehaviours = {}): KernelGeneration => ({
  ...KERNELS[kernel],
  ...behaviours,
});
