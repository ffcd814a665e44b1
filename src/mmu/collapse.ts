/**
 * Getting huge pages back when a slot stops logging (kernel: zap_collapsible_spte_range until 6.12, recover_huge_pages_range
 * since 6.13; the idea is Wanpeng Li's of 2015).
 */
import { Cost } from '../machine/cost.ts';
import { read, spend, type Task } from '../machine/point.ts';
import { rcuReadLock, rcuReadUnlock } from '../machine/rcu.ts';
import { MmuCounter } from './counters.ts';
import { kvmFlushRemoteTlbs } from './flush.ts';
import type { Kvm } from './kvm.ts';
import { type Gfn, type Level, MAX_HUGEPAGE_LEVEL, PG_LEVEL_2M, PG_LEVEL_4K } from './level.ts';
import { type Memslot, slotAllowsLevel, slotEnd } from './memslot.ts';
import { assertMmuLockHeldRead, mmuLockIsContended } from './mmu-lock.ts';
import { rangeIsWriteTracked } from './page-track.ts';
import { nextRoot, usableRoots } from './roots.ts';
import { setSpteAtomic, UpdateKind, zapSpteAtomic } from './set-spte.ts';
import { isLastSpte, isShadowPresentLeaf, isTableLo, type Spte, spteToChildPage } from './spte.ts';
import { iterPresent, TdpIter, tdpIterNext, tdpIterStart } from './tdp-iter.ts';
import { tdpMmuIterCondResched, tdpMmuIterNeedResched } from './tdp-iter-resched.ts';

/** No leaf was made yet: mmu_lock is wanted by somebody else. */
const YIELD_FIRST = 'yield first';

/** Highest level at which `gfn` may be mapped, by slot, write tracking and host (kvm_mmu_max_mapping_level). */
export function* kvmMmuMaxMappingLevel(kvm: Kvm, slot: Memslot, gfn: Gfn): Task<Level> {
  const { geometry } = kvm;
  let level: Level = MAX_HUGEPAGE_LEVEL;
  while (level > PG_LEVEL_4K) {
    const base = geometry.round(gfn, level);
    const tracked = yield* rangeIsWriteTracked(kvm, base, geometry.span(level));
    if (slotAllowsLevel(slot, geometry, gfn, level) && !tracked) break;
    level--;
  }
  if (level === PG_LEVEL_4K) return level;
  return Math.min(level, yield* kvm.host.mappingLevel(kvm, slot, gfn));
}

/** Whether the walk stands at a table of the slot that a huge page could replace, as far as the SPTE itself tells. */
function isCollapsibleTable(iter: TdpIter, slot: Memslot): boolean {
  if (iter.level > MAX_HUGEPAGE_LEVEL || !iterPresent(iter) || isLastSpte(iter.oldSpte, iter.level)) return false;
  return iter.gfn >= slot.baseGfn && iter.gfn < slotEnd(slot);
}

/** Zaps the slot's tables that a huge page could replace; the next fault maps it. mmu_lock is held for read. */
export function* kvmTdpMmuZapCollapsibleSptes(kvm: Kvm, slot: Memslot): Task<void> {
  assertMmuLockHeldRead(kvm);
  kvm.trace?.operation('zap_collapsible');
  const valid = usableRoots(kvm);
  for (let root = yield* nextRoot(kvm, 0, valid, slot.asId); root !== 0; root = yield* nextRoot(kvm, root, valid, slot.asId)) {
    yield* zapCollapsible(kvm, root, slot);
  }
}

function* zapCollapsible(kvm: Kvm, root: number, slot: Memslot): Task<void> {
  const iter = new TdpIter(kvm.spte.nonpresent);
  const end = slotEnd(slot);
  let flush = false;
  yield* rcuReadLock(kvm.rcu, kvm.thread);
  yield* tdpIterStart(kvm, iter, root, PG_LEVEL_2M, slot.baseGfn);
  for (; iter.inside(end); yield* tdpIterNext(kvm, iter)) {
    for (;;) {
      if (yield* tdpMmuIterCondResched(kvm, iter, flush, true)) {
        flush = false;
        break;
      }
      if (!isCollapsibleTable(iter, slot)) break;
      if ((yield* kvmMmuMaxMappingLevel(kvm, slot, iter.gfn)) < iter.level) break;
      // The zap flushes its range itself, while the SPTE is frozen.
      if (!(yield* zapSpteAtomic(kvm, iter))) continue;
      kvm.counters[MmuCounter.collapses]++;
      if (kvm.bugs['zap-collapsible-spurious-flush'] === true) flush = true;
      break;
    }
  }
  if (flush) yield* kvmFlushRemoteTlbs(kvm);
  yield* rcuReadUnlock(kvm.rcu, kvm.thread);
}

/** Replaces the slot's tables by huge leaves in place (6.13). Returns whether a flush is owed. mmu_lock is held for read. */
export function* kvmTdpMmuRecoverHugePages(kvm: Kvm, slot: Memslot): Task<void> {
  assertMmuLockHeldRead(kvm);
  kvm.trace?.operation('recover_huge_pages');
  const valid = usableRoots(kvm);
  for (let root = yield* nextRoot(kvm, 0, valid, slot.asId); root !== 0; root = yield* nextRoot(kvm, root, valid, slot.asId)) {
    yield* recoverHugePages(kvm, root, slot);
  }
}

function* recoverHugePages(kvm: Kvm, root: number, slot: Memslot): Task<void> {
  const iter = new TdpIter(kvm.spte.nonpresent);
  const end = slotEnd(slot);
  let flush = false;
  yield* rcuReadLock(kvm.rcu, kvm.thread);
  yield* tdpIterStart(kvm, iter, root, PG_LEVEL_2M, slot.baseGfn);
  for (; iter.inside(end); yield* tdpIterNext(kvm, iter)) {
    for (;;) {
      if (yield* tdpMmuIterCondResched(kvm, iter, flush, true)) {
        flush = false;
        break;
      }
      if (!isCollapsibleTable(iter, slot)) break;
      if ((yield* kvmMmuMaxMappingLevel(kvm, slot, iter.gfn)) < iter.level) break;
      const huge = yield* makeHugeFromChild(kvm, iter);
      if (huge === null) break;
      if (huge === YIELD_FIRST) continue;
      // Against the table that was looked into: whatever has come in its place since, the exchange fails.
      if (!(yield* setSpteAtomic(kvm, iter, huge, UpdateKind.collapse))) continue;
      kvm.counters[MmuCounter.collapses]++;
      flush = true;
      break;
    }
  }
  if (flush) yield* kvmFlushRemoteTlbs(kvm);
  yield* rcuReadUnlock(kvm.rcu, kvm.thread);
}

/**
 * The huge leaf made from the first present leaf below the walk's table; null where there is none; `YIELD_FIRST` where the
 * walk has to yield before more is looked at.
 */
function* makeHugeFromChild(kvm: Kvm, parent: TdpIter): Task<Spte | null | typeof YIELD_FIRST> {
  return yield* lookBelow(kvm, parent, spteToChildPage(parent.oldSpte), parent.level - 1, 0);
}

/** {@link makeHugeFromChild} for one table: of `level`, and `offset` pages from the start of what the walk is at. */
function* lookBelow(
  kvm: Kvm,
  parent: TdpIter,
  page: number,
  level: Level,
  offset: number,
): Task<Spte | null | typeof YIELD_FIRST> {
  const { geometry, memory, pages } = kvm;
  const span = geometry.span(level);
  for (let i = 0; i < geometry.entries; i++) {
    yield spend(Cost.iterStep);
    const spte = memory.load64(yield read(pages.sptep(page, i)));
    kvm.counters[MmuCounter.iter_steps]++;
    if (isShadowPresentLeaf(spte, level)) {
      // By the walk's progress, not by our own: else the two send each other back for ever.
      if (yield* mustYield(kvm, parent)) return YIELD_FIRST;
      return kvm.spte.makeHuge(spte, parent.level, offset + i * span, 1);
    }
    if (!isTableLo(spte.lo, level)) continue;
    const found = yield* lookBelow(kvm, parent, spteToChildPage(spte), level - 1, offset + i * span);
    if (found !== null) return found;
  }
  return null;
}

function* mustYield(kvm: Kvm, parent: TdpIter): Task<boolean> {
  if (kvm.bugs['collapse-livelock-on-resched'] === true) return yield* mmuLockIsContended(kvm);
  return yield* tdpMmuIterNeedResched(kvm, parent);
}
