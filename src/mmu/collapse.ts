/**
 * Getting huge pages back when a slot stops logging (kernel: zap_collapsible_spte_range until 6.12, recover_huge_pages_range
 * since 6.13; the idea is Wanpeng Li's of 2015).
 */
import { read, type Task } from '../machine/point.ts';
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
import { isLastSpte, isShadowPresent, isTableLo, type Spte, spteToChildPage, tablePageLo } from './spte.ts';
import { iterPresent, TdpIter, tdpIterNext, tdpIterStart } from './tdp-iter.ts';
import { tdpMmuIterCondResched } from './tdp-iter-resched.ts';

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
      // The scan below is short: only the walk itself yields, and only where it has moved on.
      if (kvm.bugs['collapse-livelock-on-resched'] === true && (yield* mmuLockIsContended(kvm))) continue;
      const huge = yield* makeHugeFromChild(kvm, iter);
      if (huge === null) break;
      if (!(yield* setSpteAtomic(kvm, iter, huge, UpdateKind.collapse))) continue;
      kvm.counters[MmuCounter.collapses]++;
      flush = true;
      break;
    }
  }
  if (flush) yield* kvmFlushRemoteTlbs(kvm);
  yield* rcuReadUnlock(kvm.rcu, kvm.thread);
}

/** The huge leaf made from some present 4K leaf below the iterator's table, or null where there is none. */
function* makeHugeFromChild(kvm: Kvm, iter: TdpIter): Task<Spte | null> {
  const { geometry, memory, pages } = kvm;
  let page = spteToChildPage(iter.oldSpte);
  let level = iter.level - 1;
  let offset = 0;
  for (let i = 0; i < geometry.entries; ) {
    const sptep = pages.sptep(page, i);
    const spte = memory.load64(yield read(sptep));
    if (isTableLo(spte.lo, level)) {
      offset += i * geometry.span(level);
      page = tablePageLo(spte.lo);
      level--;
      i = 0;
      continue;
    }
    if (isShadowPresent(spte) && isLastSpte(spte, level)) {
      return kvm.spte.makeHuge(spte, iter.level, offset + i * geometry.span(level), 1);
    }
    i++;
  }
  return null;
}
