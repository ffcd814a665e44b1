/**
 * Operations over reverse maps: unmapping, aging, write protection, dirty clearing, collapse (kernel: kvm_zap_rmapp,
 * kvm_age_rmapp, __rmap_write_protect, __rmap_clear_dirty, kvm_mmu_zap_collapsible_spte, slot_handle_level).
 *
 * mmu_lock is held throughout; the operations on whole slots give it away between two gfns where somebody waits for it.
 */
import type { Address, Task } from '../machine/point.ts';
import { andNot64, any64, equal64, type Word64 } from '../machine/word64.ts';
import { MmuCounter } from '../mmu/counters.ts';
import { kvmFlushRemoteTlbs } from '../mmu/flush.ts';
import type { Kvm } from '../mmu/kvm.ts';
import { asGfn, type Gfn, type Level, MAX_HUGEPAGE_LEVEL, PG_LEVEL_4K } from '../mmu/level.ts';
import { type Memslot, slotEnd } from '../mmu/memslot.ts';
import { mmuLockIsContended, mmuWriteLock, mmuWriteUnlock } from '../mmu/mmu-lock.ts';
import { roleAsId } from '../mmu/mmu-page.ts';
import { Site } from '../mmu/site.ts';
import { type Spte, sptePfn } from '../mmu/spte.ts';
import { readSpte, writeSpte } from '../mmu/write-spte.ts';
import { dropSpte, gfnOfSptep, pageOfSptep, rmapHead } from './drop-spte.ts';
import type { Rmaps } from './rmap.ts';

/** What is done with the list of SPTEs of one gfn at one level; returns whether it counts (mostly: a flush is owed). */
export type RmapHandler = (kvm: Kvm, rmaps: Rmaps, head: Address, level: Level) => Task<boolean>;

export interface SlotRange {
  readonly slot: Memslot;
  readonly start: Gfn;
  readonly end: Gfn;
  readonly minLevel: Level;
  readonly maxLevel: Level;
  /** Flush and give mmu_lock away where it is contended. */
  readonly mayYield: boolean;
}

/** The whole slot, at the levels from `minLevel` to the largest page. */
export function wholeSlot(slot: Memslot, minLevel: Level, mayYield: boolean): SlotRange {
  return { slot, start: slot.baseGfn, end: slotEnd(slot), minLevel, maxLevel: MAX_HUGEPAGE_LEVEL, mayYield };
}

/** Calls `handler` for every reverse map of the range (slot_handle_level_range). Returns whether one call counted. */
export function* handleRange(kvm: Kvm, rmaps: Rmaps, range: SlotRange, handler: RmapHandler, flush = false): Task<boolean> {
  let owed = flush;
  for (let level = range.minLevel; level <= range.maxLevel; level++) {
    const span = kvm.geometry.span(level);
    for (let gfn = kvm.geometry.round(range.start, level); gfn < range.end; gfn = asGfn(gfn + span)) {
      if (yield* handler(kvm, rmaps, rmapHead(kvm, range.slot, gfn, level), level)) owed = true;
      if (!range.mayYield || !(kvm.thread.needResched() || (yield* mmuLockIsContended(kvm)))) continue;
      if (owed) yield* kvmFlushRemoteTlbs(kvm);
      owed = false;
      kvm.counters[MmuCounter.yields_contended]++;
      kvm.trace?.yielded('write');
      yield* mmuWriteUnlock(kvm);
      yield* mmuWriteLock(kvm, Site.tdp_mmu_iter_cond_resched);
    }
  }
  return owed;
}

/** Zaps every SPTE of the list (kvm_zap_rmapp). */
export function* zapRmap(kvm: Kvm, rmaps: Rmaps, head: Address): Task<boolean> {
  const sptes = yield* rmaps.list(head);
  for (const sptep of sptes) yield* dropSpte(kvm, rmaps, sptep);
  return sptes.length > 0;
}

/** Clears A in every SPTE of the list. */
export function* ageRmap(kvm: Kvm, rmaps: Rmaps, head: Address, level: Level): Task<boolean> {
  let young = false;
  for (const sptep of yield* rmaps.list(head)) {
    const old = yield* readSpte(kvm, sptep);
    if (!kvm.spte.isAccessed(old)) continue;
    young = true;
    kvm.counters[MmuCounter.aged]++;
    yield* update(kvm, sptep, old, kvm.spte.markForAccessTrack(old), level);
  }
  return young;
}

export function* testAgeRmap(kvm: Kvm, rmaps: Rmaps, head: Address): Task<boolean> {
  for (const sptep of yield* rmaps.list(head)) {
    if (kvm.spte.isAccessed(yield* readSpte(kvm, sptep))) return true;
  }
  return false;
}

/** A handler that clears the bits of `mask` (W, W with MMU-writable, or D). */
export function clearBitsHandler(mask: Word64, counter: number): RmapHandler {
  return function* (kvm, rmaps, head, level) {
    let changed = false;
    for (const sptep of yield* rmaps.list(head)) {
      const old = yield* readSpte(kvm, sptep);
      if (!any64(old, mask)) continue;
      yield* update(kvm, sptep, old, andNot64(old, mask), level);
      kvm.counters[counter]++;
      changed = true;
    }
    return changed;
  };
}

/** Stores a changed leaf; a volatile one is exchanged, and what changed meanwhile is not lost (mmu_spte_update). */
function* update(kvm: Kvm, sptep: Address, old: Spte, next: Spte, level: Level): Task<void> {
  const seen = yield* writeSpte(kvm, sptep, old, next, level);
  if (!equal64(seen, next)) {
    const page = pageOfSptep(kvm, sptep);
    kvm.trace?.spteChanged(roleAsId(kvm.pages.role(page)), gfnOfSptep(kvm, sptep), level, seen, next);
  }
  if (kvm.spte.isDirty(seen) && !kvm.spte.isDirty(next)) kvm.host.setPageDirty(kvm, sptePfn(seen));
}

/** Zaps the 4K SPTEs whose page the host maps huge, so that the next fault maps it huge (the patch of 2015). */
export function collapseHandler(slot: Memslot, levelOf: (kvm: Kvm, gfn: Gfn) => Task<Level>): RmapHandler {
  return function* (kvm, rmaps, head, level) {
    let changed = false;
    for (const sptep of yield* rmaps.list(head)) {
      const gfn = gfnOfSptep(kvm, sptep);
      if (gfn < slot.baseGfn || (yield* levelOf(kvm, gfn)) <= level) continue;
      yield* dropSpte(kvm, rmaps, sptep);
      kvm.counters[MmuCounter.collapses]++;
      changed = true;
    }
    return changed;
  };
}

/** The levels that reverse maps have. */
export const RMAP_LEVELS: readonly Level[] = [PG_LEVEL_4K, PG_LEVEL_4K + 1, MAX_HUGEPAGE_LEVEL];
