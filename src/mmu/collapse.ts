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
import { type Level, MAX_HUGEPAGE_LEVEL, PG_LEVEL_2M } from './level.ts';
import { kvmMmuMaxMappingLevel } from './max-mapping-level.ts';
import { type Memslot, slotEnd } from './memslot.ts';
import { assertMmuLockHeldRead, mmuLockIsContended } from './mmu-lock.ts';
import { nextRoot, usableRoots } from './roots.ts';
import { setSpteAtomic, UpdateKind, zapSpteAtomic } from './set-spte.ts';
import { isLastSpte, isShadowPresentLeaf, isTableLo, type Spte, spteToChildPage } from './spte.ts';
import { iterPresent, TdpIter, tdpIterNext, tdpIterStart } from './tdp-iter.ts';
import { tdpMmuIterCondResched, tdpMmuIterNeedResched } from './tdp-iter-resched.ts';

/** No leaf was made yet: mmu_lock is wanted by somebody else. */
const YIELD_FIRST = 'yield first';

/** Whether the walk stands at a table of the slot that a huge page could replace, as far as the SPTE itself tells. */
function isCollapsibleTable(iter: TdpIter, slot: Memslot): boolean {
  if (iter.level > MAX_HUGEPAGE_LEVEL || !iterPresent(iter) || isLastSpte(iter.oldSpte, iter.level)) return false;
  return iter.gfn >= slot.baseGfn && iter.gfn < slotEnd(slot);
}

/** What became of a table that a huge page could replace. */
const Outcome = {
  /** It stays. */
  kept: 0,
  /** It is gone. */
  replaced: 1,
  /** It is gone, and a flush is owed for it. */
  replacedUnflushed: 2,
  /** Something came between: look again, and whether to yield. */
  again: 3,
} as const;
type Outcome = (typeof Outcome)[keyof typeof Outcome];

/** How the table that the walk is at makes room. */
type Replace = (kvm: Kvm, iter: TdpIter) => Task<Outcome>;

/** Zaps the slot's tables that a huge page could replace; the next fault maps it. mmu_lock is held for read. */
export function* kvmTdpMmuZapCollapsibleSptes(kvm: Kvm, slot: Memslot): Task<void> {
  kvm.trace?.operation('zap_collapsible');
  yield* replaceInRoots(kvm, slot, zapTable);
}

/** Replaces the slot's tables by huge leaves in place (6.13). mmu_lock is held for read. */
export function* kvmTdpMmuRecoverHugePages(kvm: Kvm, slot: Memslot): Task<void> {
  kvm.trace?.operation('recover_huge_pages');
  yield* replaceInRoots(kvm, slot, replaceByLeaf);
}

function* replaceInRoots(kvm: Kvm, slot: Memslot, replace: Replace): Task<void> {
  assertMmuLockHeldRead(kvm);
  const valid = usableRoots(kvm);
  for (let root = yield* nextRoot(kvm, 0, valid, slot.asId); root !== 0; root = yield* nextRoot(kvm, root, valid, slot.asId)) {
    yield* replaceInRoot(kvm, root, slot, replace);
  }
}

function* replaceInRoot(kvm: Kvm, root: number, slot: Memslot, replace: Replace): Task<void> {
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
      const outcome = yield* replace(kvm, iter);
      if (outcome === Outcome.again) continue;
      if (outcome !== Outcome.kept) kvm.counters[MmuCounter.collapses]++;
      if (outcome === Outcome.replacedUnflushed) flush = true;
      break;
    }
  }
  if (flush) yield* kvmFlushRemoteTlbs(kvm);
  yield* rcuReadUnlock(kvm.rcu, kvm.thread);
}

function* zapTable(kvm: Kvm, iter: TdpIter): Task<Outcome> {
  // The zap flushes its range itself, while the SPTE is frozen.
  if (!(yield* zapSpteAtomic(kvm, iter))) return Outcome.again;
  return kvm.bugs['zap-collapsible-spurious-flush'] === true ? Outcome.replacedUnflushed : Outcome.replaced;
}

function* replaceByLeaf(kvm: Kvm, iter: TdpIter): Task<Outcome> {
  const huge = yield* makeHugeFromChild(kvm, iter);
  if (huge === null) return Outcome.kept;
  if (huge === YIELD_FIRST) return Outcome.again;
  // Against the table that was looked into: whatever has come in its place since, the exchange fails.
  return (yield* setSpteAtomic(kvm, iter, huge, UpdateKind.collapse)) ? Outcome.replacedUnflushed : Outcome.again;
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
