/**
 * What the MMU notifier does to a range of gfns of a slot (kernel: kvm_unmap_gfn_range, kvm_age_gfn, kvm_test_age_gfn,
 * kvm_set_spte_gfn and their kvm_tdp_mmu_* halves). The caller holds mmu_lock for write.
 */
import type { Task } from '../machine/point.ts';
import { rcuReadLock, rcuReadUnlock } from '../machine/rcu.ts';
import { andNot64 } from '../machine/word64.ts';
import { MmuCounter } from './counters.ts';
import type { Kvm } from './kvm.ts';
import { type Gfn, type Pfn, PG_LEVEL_4K } from './level.ts';
import type { Memslot } from './memslot.ts';
import { assertMmuLockHeldWrite } from './mmu-lock.ts';
import { nextRootNoRef, RootTypes } from './roots.ts';
import { setSpte } from './set-spte.ts';
import { isLastSpte, isWritable, sptePfn } from './spte.ts';
import { iterPresent, TdpIter, tdpIterNext, tdpIterStart } from './tdp-iter.ts';
import { clearSpteBits, writeSpte } from './write-spte.ts';
import { kvmTdpMmuUnmapGfnRange } from './zap-leafs.ts';

/** Unmaps [start, end). Returns whether a flush is owed before mmu_lock is dropped. */
export function* unmapGfnRange(kvm: Kvm, slot: Memslot, start: Gfn, end: Gfn, flush: boolean, mayBlock: boolean): Task<boolean> {
  kvm.trace?.operation('unmap_gfn_range');
  if (kvm.backend !== null) return yield* kvm.backend.unmapGfnRange(kvm, slot, start, end, flush, mayBlock);
  return yield* kvmTdpMmuUnmapGfnRange(kvm, slot.asId, start, end, mayBlock, flush);
}

/** What a handler of {@link eachLeaf} does with one leaf; the result says whether it counts. */
type LeafHandler = (kvm: Kvm, iter: TdpIter) => Task<boolean>;

/** Calls `handler` for every present leaf of [start, end) in all roots of the slot's address space. Never yields. */
function* eachLeaf(kvm: Kvm, slot: Memslot, start: Gfn, end: Gfn, handler: LeafHandler): Task<boolean> {
  assertMmuLockHeldWrite(kvm);
  const iter = new TdpIter(kvm.spte.nonpresent);
  const { all } = RootTypes;
  let any = false;
  for (let root = yield* nextRootNoRef(kvm, 0, all, slot.asId); root !== 0; ) {
    yield* rcuReadLock(kvm.rcu, kvm.thread);
    yield* tdpIterStart(kvm, iter, root, PG_LEVEL_4K, start);
    for (; iter.inside(end); yield* tdpIterNext(kvm, iter)) {
      if (!iterPresent(iter) || !isLastSpte(iter.oldSpte, iter.level)) continue;
      if (yield* handler(kvm, iter)) any = true;
    }
    yield* rcuReadUnlock(kvm.rcu, kvm.thread);
    root = yield* nextRootNoRef(kvm, root, all, slot.asId);
  }
  return any;
}

/** Makes the leaves of [start, end) old. Returns whether one was young. No flush: later users expect stale translations. */
export function* ageGfnRange(kvm: Kvm, slot: Memslot, start: Gfn, end: Gfn): Task<boolean> {
  kvm.trace?.operation('age_gfn_range');
  if (kvm.backend !== null) return yield* kvm.backend.ageGfnRange(kvm, slot, start, end);
  return yield* eachLeaf(kvm, slot, start, end, ageLeaf);
}

function* ageLeaf(kvm: Kvm, iter: TdpIter): Task<boolean> {
  if (!kvm.spte.isAccessed(iter.oldSpte)) return false;
  let next = iter.oldSpte;
  if (kvm.spte.features.adBits) {
    iter.oldSpte = yield* clearSpteBits(kvm, iter.sptep, iter.oldSpte, kvm.spte.accessed, iter.level);
    next = andNot64(iter.oldSpte, kvm.spte.accessed);
  } else {
    next = kvm.spte.markForAccessTrack(iter.oldSpte);
    iter.oldSpte = yield* writeSpte(kvm, iter.sptep, iter.oldSpte, next, iter.level);
    // Without A/D bits W is what says dirty, and it is gone now.
    if (isWritable(iter.oldSpte)) {
      kvm.counters[MmuCounter.host_pages_dirtied]++;
      kvm.host.setPageDirty(kvm, sptePfn(iter.oldSpte));
    }
  }
  kvm.counters[MmuCounter.aged]++;
  kvm.trace?.spteChanged(iter.asId, iter.gfn, iter.level, iter.oldSpte, next);
  return true;
}

/** Whether a leaf of [start, end) is young. Changes nothing. */
export function* testAgeGfnRange(kvm: Kvm, slot: Memslot, start: Gfn, end: Gfn): Task<boolean> {
  if (kvm.backend !== null) return yield* kvm.backend.testAgeGfnRange(kvm, slot, start, end);
  return yield* eachLeaf(kvm, slot, start, end, testAgeLeaf);
}

// A handler like the others, though it has nothing to wait for.
function* testAgeLeaf(kvm: Kvm, iter: TdpIter): Task<boolean> {
  return kvm.spte.isAccessed(iter.oldSpte);
}

/**
 * Remaps the 4K leaf of `gfn` to another page (change_pte, until 6.9): zapped first, so that accessed and dirty reach the
 * right page, and mapped read-only where the host says so.
 *
 * @returns whether a flush is owed
 */
export function* setSpteGfn(kvm: Kvm, slot: Memslot, gfn: Gfn, pfn: Pfn, writable: boolean): Task<boolean> {
  kvm.trace?.operation('set_spte_gfn');
  if (kvm.backend !== null) return yield* kvm.backend.setSpteGfn(kvm, slot, gfn, pfn, writable);
  return yield* eachLeaf(kvm, slot, gfn, (gfn + 1) as Gfn, function* (k, iter) {
    if (iter.level !== PG_LEVEL_4K) return false;
    const old = yield* setSpte(k, iter.asId, iter.sptep, iter.oldSpte, k.spte.nonpresent, iter.gfn, iter.level);
    if (!writable) {
      const next = k.spte.makeChangedPte(old, pfn);
      yield* setSpte(k, iter.asId, iter.sptep, k.spte.nonpresent, next, iter.gfn, iter.level);
    }
    return true;
  });
}
