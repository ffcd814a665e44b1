/**
 * Eager page splitting (kernel: kvm_tdp_mmu_try_split_huge_pages and tdp_mmu_split_huge_pages_root in tdp_mmu.c; series
 * "Extend Eager Page Splitting to the TDP MMU", v2).
 */
import { invariant } from '../machine/invariant.ts';
import { freePage, PageState } from '../machine/page-allocator.ts';
import { allocPage, tryAllocPage } from '../machine/page-cache.ts';
import type { Task } from '../machine/point.ts';
import { rcuReadLock, rcuReadUnlock } from '../machine/rcu.ts';
import { MmuCounter } from './counters.ts';
import type { Kvm } from './kvm.ts';
import type { Gfn, Level } from './level.ts';
import { tdpMmuInitChildSp } from './link-sp.ts';
import type { Memslot } from './memslot.ts';
import { assertMmuLockMode, mmuLock, mmuUnlock } from './mmu-lock.ts';
import { kvmTdpMmuPutRoot, nextRoot, usableRoots } from './roots.ts';
import { Site } from './site.ts';
import { splitHugePage } from './split.ts';
import { isLargeSpte } from './spte.ts';
import { iterPresent, TdpIter, tdpIterNext, tdpIterStart } from './tdp-iter.ts';
import { tdpMmuIterCondResched } from './tdp-iter-resched.ts';

/** errno of a failed allocation. */
export const ENOMEM = 12;

/**
 * Splits the huge pages of [start, end) down to `target`. Best effort: what is not split now is split by faults later.
 *
 * @returns 0, or -ENOMEM where memory ran out
 */
export function* kvmTdpMmuTrySplitHugePages(
  kvm: Kvm,
  slot: Memslot,
  start: Gfn,
  end: Gfn,
  target: Level,
  shared: boolean,
): Task<number> {
  assertMmuLockMode(kvm, shared);
  kvm.trace?.trySplit(start, end, target, shared);
  const valid = usableRoots(kvm);
  for (let root = yield* nextRoot(kvm, 0, valid, slot.asId); root !== 0; root = yield* nextRoot(kvm, root, valid, slot.asId)) {
    const error = yield* splitHugePagesRoot(kvm, root, start, end, target, shared);
    if (error === 0) continue;
    yield* kvmTdpMmuPutRoot(kvm, root);
    return error;
  }
  return 0;
}

function* splitHugePagesRoot(kvm: Kvm, root: number, start: Gfn, end: Gfn, target: Level, shared: boolean): Task<number> {
  const iter = new TdpIter(kvm.spte.nonpresent);
  /** A table at hand: kept over restarts, and over exchanges that were lost. */
  let spare = 0;
  let error = 0;
  yield* rcuReadLock(kvm.rcu, kvm.thread);
  // Pre-order: a 1G page that was split is stepped into, and its 2M pages are split in the same walk.
  yield* tdpIterStart(kvm, iter, root, target + 1, start);
  for (; iter.inside(end); yield* tdpIterNext(kvm, iter)) {
    for (;;) {
      if (yield* tdpMmuIterCondResched(kvm, iter, false, shared)) break;
      if (!iterPresent(iter) || !isLargeSpte(iter.oldSpte)) break;
      if (spare === 0) {
        spare = yield* allocForSplit(kvm, iter, shared);
        if (spare === 0) {
          kvm.trace?.splitHugePage(iter.gfn, iter.oldSpte, iter.level, -ENOMEM);
          error = -ENOMEM;
          break;
        }
        if (iter.yielded) break;
      }
      tdpMmuInitChildSp(kvm, spare, iter);
      if (yield* splitHugePage(kvm, iter, spare, shared)) {
        kvm.counters[MmuCounter.splits_eager]++;
        spare = 0;
        break;
      }
      invariant(shared, 'exclusive-split-failed', 'a split under the write lock lost an exchange');
    }
    if (error !== 0) break;
  }
  yield* rcuReadUnlock(kvm.rcu, kvm.thread);
  if (spare !== 0) yield* freePage(kvm.allocator, kvm.thread, spare, PageState.cached);
  return error;
}

/**
 * A table for a split (tdp_mmu_alloc_sp_for_split). mmu_lock may not be held over an allocation that sleeps, since freeing
 * memory may need it; until 6.11 one that does not sleep was tried first.
 */
function* allocForSplit(kvm: Kvm, iter: TdpIter, shared: boolean): Task<number> {
  if (kvm.bugs['alloc-under-mmu-lock-reclaim-deadlock'] === true) return yield* allocPage(kvm.allocator, kvm.thread);
  if (kvm.generation.splitAllocatesUnderLock) {
    const page = yield* tryAllocPage(kvm.allocator, kvm.thread);
    if (page !== 0) return page;
  }
  yield* rcuReadUnlock(kvm.rcu, kvm.thread);
  yield* mmuUnlock(kvm, shared);
  const page = yield* allocPage(kvm.allocator, kvm.thread);
  yield* mmuLock(kvm, shared, Site.tdp_mmu_split_huge_pages_root);
  yield* rcuReadLock(kvm.rcu, kvm.thread);
  iter.yielded = true;
  return page;
}
