/**
 * Changing an SPTE that is linked, with all that follows from it (kernel: tdp_mmu_set_spte, tdp_mmu_set_spte_atomic,
 * tdp_mmu_zap_spte_atomic, handle_changed_spte and handle_removed_pt in arch/x86/kvm/mmu/tdp_mmu.c).
 *
 * One function, `handleChangedSpte`, owns the bookkeeping of every change. The mode is in the setter's name: `setSpteAtomic`
 * where mmu_lock is held for read, `setSpte` where it is held for write.
 */
import { Cost } from '../machine/cost.ts';
import { InvariantError } from '../machine/invariant.ts';
import { freePage, PageState } from '../machine/page-allocator.ts';
import { type Address, relax, rmw, spend, type Task } from '../machine/point.ts';
import { callRcu } from '../machine/rcu.ts';
import { equal64 } from '../machine/word64.ts';
import { MmuCounter } from './counters.ts';
import { kvmFlushRemoteTlbsRange, kvmFlushRemovedTable } from './flush.ts';
import type { Kvm } from './kvm.ts';
import type { Gfn, Level } from './level.ts';
import { assertMmuLockHeldRead, assertMmuLockHeldWrite } from './mmu-lock.ts';
import { roleAsId, roleLevel } from './mmu-page.ts';
import { tdpMmuUnlinkSp } from './nx-huge-pages.ts';
import { isLastSpte, isShadowPresent, type Spte, sptePfn, spteToChildPage } from './spte.ts';
import { assertNotYielded, type TdpIter } from './tdp-iter.ts';
import { addVmStat, pagesStat } from './vm-stat.ts';
import { readSpte, writeSpte, writeSptePlain } from './write-spte.ts';

/** What an atomic update is for: the counter of its attempts; the one after it counts those that lost. */
export const UpdateKind = {
  link: MmuCounter.cmpxchg_link,
  leaf: MmuCounter.cmpxchg_leaf,
  split: MmuCounter.cmpxchg_split,
  zap: MmuCounter.cmpxchg_zap,
  protect: MmuCounter.cmpxchg_protect,
  collapse: MmuCounter.cmpxchg_collapse,
} as const;

/**
 * The compare-and-exchange of every lockless update. On failure `iter.oldSpte` is the value that won.
 *
 * @returns whether the exchange took place (the kernel: 0, or -EBUSY)
 */
export function* tryCmpxchgSpte(kvm: Kvm, iter: TdpIter, next: Spte, kind: number): Task<boolean> {
  assertNotYielded(iter);
  const { bugs, spte } = kvm;
  if (spte.isFrozen(iter.oldSpte) && bugs['install-over-frozen'] !== true)
    throw new InvariantError(
      'cmpxchg-over-frozen',
      `a frozen SPTE at gfn ${iter.gfn}, level ${iter.level}, was about to be replaced by another thread`,
    );
  kvm.counters[kind]++;
  const seen = kvm.memory.cmpxchg64(yield rmw(iter.sptep), iter.oldSpte, next);
  if (seen === iter.oldSpte) return true;
  kvm.counters[kind + 1]++;
  iter.oldSpte = seen;
  return false;
}

/** Sets an SPTE with mmu_lock held for read. Returns whether it did: somebody else may have been first. */
export function* setSpteAtomic(kvm: Kvm, iter: TdpIter, next: Spte, kind: number): Task<boolean> {
  assertMmuLockHeldRead(kvm);
  const old = iter.oldSpte;
  if (!(yield* tryCmpxchgSpte(kvm, iter, next, kind))) return false;
  yield* handleChangedSpte(kvm, iter.asId, iter.gfn, old, next, iter.level, true);
  return true;
}

/** Sets an SPTE with mmu_lock held for write. Returns the value that was replaced. */
export function* setSpte(kvm: Kvm, asId: number, sptep: Address, old: Spte, next: Spte, gfn: Gfn, level: Level): Task<Spte> {
  assertMmuLockHeldWrite(kvm);
  if (kvm.spte.isFrozen(old) || kvm.spte.isFrozen(next))
    throw new InvariantError(
      'set-frozen-exclusive',
      `an SPTE was to be set from or to the frozen value under the write lock (gfn ${gfn}, level ${level})`,
    );
  const seen = yield* writeSpte(kvm, sptep, old, next, level);
  yield* handleChangedSpte(kvm, asId, gfn, seen, next, level, false);
  return seen;
}

/** {@link setSpte} at the iterator's position. */
export function* iterSetSpte(kvm: Kvm, iter: TdpIter, next: Spte): Task<void> {
  assertNotYielded(iter);
  iter.oldSpte = yield* setSpte(kvm, iter.asId, iter.sptep, iter.oldSpte, next, iter.gfn, iter.level);
}

/**
 * Zaps a present SPTE with mmu_lock held for read, so that no translation through it is left when it can be replaced: it is
 * frozen first, which keeps everybody else off, then flushed, then made non-present.
 */
export function* zapSpteAtomic(kvm: Kvm, iter: TdpIter): Task<boolean> {
  assertMmuLockHeldRead(kvm);
  const { bugs, generation, geometry, spte } = kvm;
  const old = iter.oldSpte;
  if (bugs['no-freeze-before-flush'] === true) {
    if (!(yield* setSpteAtomic(kvm, iter, spte.nonpresent, UpdateKind.zap))) return false;
    yield* kvmFlushRemoteTlbsRange(kvm, iter.gfn, geometry.span(iter.level));
    return true;
  }
  if (!(yield* tryCmpxchgSpte(kvm, iter, spte.frozen, UpdateKind.zap))) return false;
  kvm.counters[MmuCounter.freezes]++;
  kvm.trace?.spteFrozen(iter.sptep, iter.gfn, iter.level);
  // Until 6.10 the bookkeeping came first, which kept the SPTE frozen while a whole table was taken apart.
  const bookkeepingFirst = !generation.bookkeepingAfterFrozen || bugs['frozen-during-recursive-free'] === true;
  if (bookkeepingFirst) yield* handleChangedSpte(kvm, iter.asId, iter.gfn, old, spte.frozen, iter.level, true);
  if (isLastSpte(old, iter.level)) yield* kvmFlushRemoteTlbsRange(kvm, iter.gfn, geometry.span(iter.level));
  else yield* kvmFlushRemovedTable(kvm, iter.gfn, iter.level);
  yield* writeSptePlain(kvm, iter.sptep, spte.nonpresent);
  kvm.trace?.spteThawed(iter.sptep);
  if (!bookkeepingFirst) yield* handleChangedSpte(kvm, iter.asId, iter.gfn, old, spte.nonpresent, iter.level, true);
  return true;
}

/**
 * Everything that follows from one SPTE change: statistics, dirty and accessed hand-over to the host page, and the removal of
 * the table that the old SPTE linked. The dirty log is not touched here.
 *
 * @param shared whether mmu_lock is held for read, that is, whether others may change the removed table's entries
 */
export function* handleChangedSpte(
  kvm: Kvm,
  asId: number,
  gfn: Gfn,
  old: Spte,
  next: Spte,
  level: Level,
  shared: boolean,
): Task<void> {
  const wasPresent = isShadowPresent(old);
  const isPresent = isShadowPresent(next);
  const wasLeaf = wasPresent && isLastSpte(old, level);
  const isLeaf = isPresent && isLastSpte(next, level);
  const pfnChanged = wasLeaf && isLeaf && sptePfn(old) !== sptePfn(next);
  if (pfnChanged && !kvm.generation.changePte)
    throw new InvariantError(
      'leaf-pfn-changed',
      `a leaf went straight from ${old} to ${next} (gfn ${gfn}, level ${level}): no flush lies between the two pages`,
    );
  if (equal64(old, next)) return;
  yield spend(Cost.spteChange);
  kvm.trace?.spteChanged(asId, gfn, level, old, next);
  if (isLeaf) kvm.spte.checkWritableInvariants(next);
  if (!wasPresent && !isPresent) {
    if (!kvm.spte.isMmio(old) && !kvm.spte.isMmio(next) && !kvm.spte.isFrozen(next))
      throw new InvariantError(
        'nonpresent-to-nonpresent',
        `SPTE went from ${old} to ${next}, neither present, MMIO nor frozen (gfn ${gfn}, level ${level})`,
      );
    return;
  }
  if (isLeaf !== wasLeaf) yield* addVmStat(kvm, pagesStat(level), isLeaf ? 1 : -1);
  if (wasLeaf && !isLeaf) kvm.counters[MmuCounter.leaves_zapped]++;
  if (wasLeaf && kvm.spte.isDirty(old) && (!isPresent || !kvm.spte.isDirty(next) || pfnChanged)) {
    kvm.counters[MmuCounter.host_pages_dirtied]++;
    kvm.host.setPageDirty(kvm, sptePfn(old));
  }
  if (wasPresent && !wasLeaf && (isLeaf || !isPresent)) yield* handleRemovedPt(kvm, spteToChildPage(old), shared);
  if (wasLeaf && kvm.spte.isAccessed(old) && (!isPresent || !kvm.spte.isAccessed(next) || pfnChanged)) {
    kvm.counters[MmuCounter.host_pages_accessed]++;
    kvm.host.setPageAccessed(kvm, sptePfn(old));
  }
}

/**
 * Takes a table apart that was just unlinked. Every entry is left frozen, so that a walk which still stands in the table can
 * install nothing; the page is freed after a grace period. The caller owes a TLB flush before it leaves its RCU section, where
 * the kernel generation does not flush here.
 */
function* handleRemovedPt(kvm: Kvm, page: number, shared: boolean): Task<void> {
  const { geometry, pages } = kvm;
  const role = pages.role(page);
  const level = roleLevel(role);
  const asId = roleAsId(role);
  const base = pages.gfn(page);
  kvm.trace?.prepareZapPage(page, base, level);
  kvm.counters[MmuCounter.tables_removed]++;
  yield* tdpMmuUnlinkSp(kvm, page);
  for (let i = 0; i < geometry.entries; i++) {
    const sptep = pages.sptep(page, i);
    const gfn = (base + i * geometry.span(level)) as Gfn;
    let old: Spte;
    if (shared) {
      old = yield* freezeRemoved(kvm, sptep);
    } else {
      old = yield* readSpte(kvm, sptep);
      if (!isShadowPresent(old)) continue;
      if (kvm.bugs['nonatomic-write-in-removed-table'] === true) yield* writeSptePlain(kvm, sptep, kvm.spte.frozen);
      else old = yield* writeSpte(kvm, sptep, old, kvm.spte.frozen, level);
    }
    yield* handleChangedSpte(kvm, asId, gfn, old, kvm.spte.frozen, level, shared);
  }
  if (kvm.generation.tableRemovalFlushes) yield* kvmFlushRemoteTlbsRange(kvm, base, geometry.span(level + 1));
  if (kvm.bugs['pt-freed-without-rcu'] === true) yield* freePage(kvm.allocator, kvm.thread, page, PageState.live);
  else yield* callRcu(kvm.rcu, kvm.thread, page);
}

/** Exchanges an entry of a removed table for the frozen value, waiting out another thread's freeze. Returns the old value. */
function* freezeRemoved(kvm: Kvm, sptep: Address): Task<Spte> {
  for (;;) {
    const old = kvm.memory.xchg64(yield rmw(sptep), kvm.spte.frozen);
    if (!kvm.spte.isFrozen(old)) return old;
    // The other one will store over its own freeze with a plain store; only then is the entry ours.
    kvm.counters[MmuCounter.frozen_spins]++;
    yield relax(sptep);
  }
}
