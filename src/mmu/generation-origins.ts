/**
 * Where the behaviours of kernel generations come from: for each field of `KernelGeneration` the changes that made it what it
 * is, by subject line and release.
 *
 * Hashes are given where they are known; null stands for a change that is known by its effect only. `longterm` marks what a
 * longterm kernel has that its first release had not.
 */
import type { KernelGeneration } from './generation.ts';

/** A change, and the first release that has it. */
export interface Origin {
  readonly release: string;
  /** Subject line of the commit, or what recordings show. */
  readonly subject: string;
  readonly commit: string | null;
}

export interface BehaviourOrigins {
  /** The behaviour in a few words, for tables. */
  readonly label: string;
  /** Oldest first. */
  readonly changes: readonly Origin[];
}

/** All of a generation but its name. */
export type BehaviourName = Exclude<keyof KernelGeneration, 'name'>;

const change = (release: string, subject: string, commit: string | null = null): Origin => ({ release, subject, commit });

/** The subjects of two series of which several patches together make a behaviour. */
const ZAP_SERIES = 'KVM: x86/mmu: Overhaul TDP MMU zapping and flushing (v4, 30 patches)';

export const GENERATION_ORIGINS: Readonly<Record<BehaviourName, BehaviourOrigins>> = {
  shadowNonpresent: {
    label: 'non-present SPTE',
    changes: [change('6.10', 'KVM: x86/mmu: Allow non-zero value for non-present SPTE and removed SPTE', '7f01cab84928')],
  },
  frozenName: {
    label: 'name of the frozen value',
    changes: [change('6.11', 'KVM: x86/tdp_mmu: Rename REMOVED_SPTE to FROZEN_SPTE', '964cea817196')],
  },
  hugeOnFault: {
    label: 'fault that needs a smaller page',
    changes: [change('6.2', 'KVM: x86/mmu: Split huge pages mapped by the TDP MMU on fault', 'c4b33d28ea51')],
  },
  nxKeeps: {
    label: 'tables kept from huge pages by nx_huge_pages',
    changes: [change('6.2', 'KVM: x86/mmu: explicitly check nx_hugepage in disallowed_hugepage_adjust()')],
  },
  rootZapPasses: {
    label: 'walks of a root zap, by level',
    changes: [
      change('5.18', 'KVM: x86/mmu: Zap roots in two passes to avoid inducing RCU stalls', '1b6043e8e584'),
      change('6.9', 'KVM: x86/mmu: Zap invalidated TDP MMU roots at 4KiB granularity', '8ca983631f3c'),
    ],
  },
  bookkeepingAfterFrozen: {
    label: 'bookkeeping of a zap after it thawed',
    changes: [change('6.10', 'KVM: x86/mmu: Process atomically-zapped SPTEs after TLB flush', 'aca48556c592')],
  },
  rootZapBy: {
    label: 'who zaps an invalidated root',
    changes: [
      change('5.18', 'KVM: x86/mmu: Zap invalidated roots via asynchronous worker', '22b94c4b63eb'),
      change('6.6', 'KVM: x86/mmu: Stop zapping invalidated TDP MMU roots asynchronously', '0df9dab891ff'),
      change('longterm 6.1', 'the change of 6.6, as recordings of 6.1.190 show'),
    ],
  },
  rootZapFlushes: {
    label: 'root zaps freeze and flush',
    changes: [
      change('5.18', `KVM: x86/mmu: Skip remote TLB flush when zapping all of TDP MMU, in: ${ZAP_SERIES}`),
      change('5.18', 'KVM: x86/mmu: Allow yielding when zapping GFNs for defunct TDP MMU root', '8351779ce65f'),
    ],
  },
  zapRootOnLastPut: {
    label: 'last put of a valid root zaps it',
    changes: [
      change('6.4', 'KVM: x86/mmu: Preserve TDP MMU roots until they are explicitly invalidated', 'edbdb43fc96b'),
      change('longterm 6.1', 'the change of 6.4, as recordings of 6.1.190 show'),
    ],
  },
  rootAllocLock: {
    label: 'mmu_lock when a root is made',
    changes: [change('6.9', 'KVM: x86/mmu: Alloc TDP MMU roots while holding mmu_lock for read', 'dab285e4ec73')],
  },
  splitAllocatesUnderLock: {
    label: 'splitting allocates under mmu_lock first',
    changes: [change('6.11', 'KVM: x86/mmu: Always drop mmu_lock to allocate TDP MMU SPs for eager splitting', 'cf3ff0ee24d6')],
  },
  clearSplitEnd: {
    label: 'end that CLEAR hands to the splitter',
    changes: [
      change('5.18', 'KVM: x86/mmu: Split huge pages mapped by the TDP MMU during KVM_CLEAR_DIRTY_LOG', 'cb00a70bd4b7'),
      change('6.8', 'KVM: x86/mmu: Fix off-by-1 when splitting huge pages during CLEAR', '1aa4bb916808'),
    ],
  },
  clearBitsByFetchAnd: {
    label: 'A and D cleared by one atomic and',
    changes: [change('6.4', 'KVM: x86/mmu: Clear only A-bit (if enabled) when aging TDP MMU SPTEs', '7ee131e3a3c3')],
  },
  dirtyOnEveryWritable: {
    label: 'D with every W',
    changes: [change('6.13', "KVM: x86/mmu: Always set SPTE's dirty bit if it's created as writable", 'cc7ed3358e41')],
  },
  recoverHugePages: {
    label: 'huge pages after logging',
    changes: [
      change('4.2', 'kvm: mmu: lazy collapse small sptes into large sptes', '3ea3b7fa9af0'),
      change('6.13', 'KVM: x86/mmu: Recover TDP MMU huge page mappings in-place instead of zapping', '13e2e4f62a4b'),
    ],
  },
  invalidateRangeIn: {
    label: 'invalidation window in',
    changes: [
      change('5.12', 'KVM: x86/mmu: Consider the hva in mmu_notifier retry', '4a42d848db95'),
      change('6.8', 'KVM: Use gfn instead of hva for mmu_notifier_retry', '8569992d64b8'),
    ],
  },
  unlockedRetryTest: {
    label: 'retry test before mmu_lock',
    changes: [change('6.8', 'KVM: x86/mmu: Retry fault before acquiring mmu_lock if mapping is changing', 'd02c357e5bfa')],
  },
  changePte: {
    label: 'change_pte notifier',
    changes: [change('6.10', 'KVM: delete .change_pte MMU notifier callback', 'f3b65bbaed7c')],
  },
  writeProtectedResult: {
    label: 'write-protected as a fault result',
    changes: [change('6.12', 'KVM: x86/mmu: Trigger unprotect logic only on write-protection page faults', '989a84c93f59')],
  },
  leafZapRemovesTables: {
    label: 'range zaps remove tables',
    changes: [change('5.18', `KVM: x86/mmu: Zap only TDP MMU leafs in kvm_zap_gfn_range(), in: ${ZAP_SERIES}`)],
  },
  tableRemovalFlushes: {
    label: 'removing a table flushes at once',
    changes: [change('5.18', `KVM: x86/mmu: Do remote TLB flush before dropping RCU in TDP MMU resched, in: ${ZAP_SERIES}`)],
  },
  slotZapAllQuirk: {
    label: 'quirk: deleting a slot zaps all',
    changes: [change('6.12', 'KVM: x86/mmu: Introduce a quirk to control memslot zap behavior', 'aa8d1f48d353')],
  },
  unconditionalFlushOnEnable: {
    label: 'enabling the log always flushes',
    changes: [change('6.0', 'kvm: x86: mmu: Always flush TLBs when enabling dirty logging', 'b64d740ea7dd')],
  },
  flushOnAge: {
    label: 'clear_flush_young flushes',
    changes: [change('6.13', 'KVM: Allow arch code to elide TLB flushes when aging a young page', '2ebbe0308c29')],
  },
  eagerPageSplit: {
    label: 'eager page splitting',
    changes: [
      change(
        '5.18',
        'KVM: x86/mmu: Split huge pages mapped by the TDP MMU when dirty logging is enabled, in: KVM: x86/mmu: Eager Page ' +
          'Splitting for the TDP MMU (v2, 18 patches)',
      ),
    ],
  },
  preFault: {
    label: 'KVM_PRE_FAULT_MEMORY',
    changes: [change('6.11', 'KVM: Add KVM_PRE_FAULT_MEMORY vcpu ioctl to pre-populate guest memory')],
  },
  exchangeVolatile: {
    label: 'volatile SPTEs exchanged under write lock',
    changes: [change('5.18', 'KVM: x86/mmu: Use atomic XCHG to write TDP MMU SPTEs with volatile bits', 'ba3a6120a4e7')],
  },
  progressTestLast: {
    label: 'progress tested after need_resched',
    changes: [change('6.13', 'KVM: x86/mmu: Check yielded_gfn for forward progress iff resched is needed', 'e287e4316713')],
  },
  flushOnVcpuReset: {
    label: 'reset of a vCPU flushes its TLB',
    changes: [change('6.12', 'as recordings show: on 6.12, and not on longterm 6.1')],
  },
  lockedTeardown: {
    label: 'roots invalidated under mmu_lock at the end',
    changes: [change('longterm 6.1', 'as recordings of 6.1.190 show')],
  },
};
