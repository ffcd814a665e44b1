/**
 * What is done to the SPTEs of a reverse map: unmapping, aging, write protection, dirty clearing, collapse, change of the page
 * (kernel: kvm_unmap_rmapp, kvm_age_rmapp, __rmap_write_protect, __rmap_clear_dirty, kvm_mmu_zap_collapsible_spte,
 * kvm_set_pte_rmapp in arch/x86/kvm/mmu.c of 5.4). mmu_lock is held.
 */
import type { Task } from '../machine/point.ts';
import { andNot64, any64, or64 } from '../machine/word64.ts';
import { MmuCounter } from '../mmu/counters.ts';
import type { Pfn } from '../mmu/level.ts';
import { kvmMmuMaxMappingLevel } from '../mmu/max-mapping-level.ts';
import type { Memslot } from '../mmu/memslot.ts';
import { isWritable, spteAdEnabled, spteAdNeedWriteProtect, WRITABLE_BIT } from '../mmu/spte.ts';
import { readSpte, writeSptePlain } from '../mmu/write-spte.ts';
import { dropSpte } from './drop-spte.ts';
import {
  canBecomeWritable,
  clearLeafBits,
  gfnOfSptep,
  mmuSpteAge,
  mmuSpteClearTrackBits,
  mmuSpteUpdate,
  pageOfSptep,
  setPageDirty,
  traceChange,
} from './shadow-spte.ts';
import type { RmapHandler } from './slot-walk.ts';

/** Zaps the SPTEs; any of them owes a flush. */
export const zapRmap: RmapHandler = function* (kvm, rmaps, sptes) {
  for (const sptep of sptes) yield* dropSpte(kvm, rmaps, sptep);
  return sptes.length > 0;
};

/** Makes the SPTEs old; whether one was young. */
export const ageRmap: RmapHandler = function* (kvm, _rmaps, sptes) {
  let young = false;
  for (const sptep of sptes) {
    const old = yield* readSpte(kvm, sptep);
    if (!kvm.spte.isAccessed(old)) continue;
    young = true;
    kvm.counters[MmuCounter.aged]++;
    yield* mmuSpteAge(kvm, sptep, old);
  }
  return young;
};

/** Whether one of the SPTEs is young. */
export const testAgeRmap: RmapHandler = function* (kvm, _rmaps, sptes) {
  for (const sptep of sptes) {
    if (kvm.spte.isAccessed(yield* readSpte(kvm, sptep))) return true;
  }
  return false;
};

/**
 * Takes W, for the dirty log, or W and MMU-writable, for good: the page is tracked, or huge where its slot logs. In the second
 * case an SPTE without W counts, too, because a fast page fault may have been about to set it.
 */
function writeProtect(forGood: boolean): RmapHandler {
  return function* (kvm, _rmaps, sptes) {
    const mask = forGood ? or64(WRITABLE_BIT, kvm.spte.mmuWritable) : WRITABLE_BIT;
    let flush = false;
    for (const sptep of sptes) {
      const old = yield* readSpte(kvm, sptep);
      if (!isWritable(old) && !(forGood && canBecomeWritable(kvm, old))) continue;
      if (yield* mmuSpteUpdate(kvm, sptep, old, andNot64(old, mask))) flush = true;
      kvm.counters[MmuCounter.write_protected]++;
    }
    return flush;
  };
}

export const writeProtectRmap: RmapHandler = writeProtect(false);
export const writeProtectRmapForGood: RmapHandler = writeProtect(true);

/** Takes D from the SPTEs, or W where that stands for it, so that the next write is noticed. */
export const clearDirtyRmap: RmapHandler = function* (kvm, _rmaps, sptes) {
  let flush = false;
  for (const sptep of sptes) {
    const old = yield* readSpte(kvm, sptep);
    if (spteAdNeedWriteProtect(old)) {
      if (!isWritable(old)) continue;
      const seen = yield* clearLeafBits(kvm, sptep, WRITABLE_BIT);
      if (!spteAdEnabled(seen)) setPageDirty(kvm, seen);
      kvm.counters[MmuCounter.write_protected]++;
      flush = true;
    } else if (any64(old, kvm.spte.dirty)) {
      if (yield* mmuSpteUpdate(kvm, sptep, old, andNot64(old, kvm.spte.dirty))) flush = true;
      kvm.counters[MmuCounter.dirty_cleared]++;
    }
  }
  return flush;
};

/**
 * Zaps 4K SPTEs of `slot` whose page the host maps huge: the next fault maps it huge, and unlinks the table that is left (the
 * patch of 2015). The test is that of later kernels, which holds for any kind of backing.
 */
export function collapseRmap(slot: Memslot): RmapHandler {
  return function* (kvm, rmaps, sptes) {
    let flush = false;
    for (const sptep of sptes) {
      const level = kvm.pages.level(pageOfSptep(kvm, sptep));
      if ((yield* kvmMmuMaxMappingLevel(kvm, slot, gfnOfSptep(kvm, sptep))) <= level) continue;
      yield* dropSpte(kvm, rmaps, sptep);
      kvm.counters[MmuCounter.collapses]++;
      flush = true;
    }
    return flush;
  };
}

/** The host maps another page there: a writable mapping of it is left to the next fault, a read-only one is put in place. */
export function changePteRmap(pfn: Pfn, writable: boolean): RmapHandler {
  return function* (kvm, rmaps, sptes): Task<boolean> {
    for (const sptep of sptes) {
      if (writable) {
        yield* dropSpte(kvm, rmaps, sptep);
        continue;
      }
      const old = yield* mmuSpteClearTrackBits(kvm, sptep, yield* readSpte(kvm, sptep));
      const next = kvm.spte.makeChangedPte(old, pfn);
      yield* writeSptePlain(kvm, sptep, next);
      traceChange(kvm, sptep, kvm.spte.nonpresent, next);
    }
    return sptes.length > 0;
  };
}
