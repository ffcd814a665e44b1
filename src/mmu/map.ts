/**
 * Mapping a faulting gfn (kernel: kvm_tdp_mmu_map, tdp_mmu_map_handle_target_level, kvm_mmu_hugepage_adjust,
 * disallowed_hugepage_adjust and make_spte's share of the dirty log).
 */
import { returnToCache } from '../machine/page-cache.ts';
import type { Task } from '../machine/point.ts';
import { rcuReadLock, rcuReadUnlock } from '../machine/rcu.ts';
import { equal64 } from '../machine/word64.ts';
import { MmuCounter } from './counters.ts';
import { kvmFlushRemovedTable } from './flush.ts';
import type { Kvm } from './kvm.ts';
import { type Gfn, type Pfn, PG_LEVEL_4K } from './level.ts';
import { tdpMmuAllocSp, tdpMmuInitChildSp, tdpMmuLinkSp } from './link-sp.ts';
import { markPageDirtyInSlot } from './mark-dirty.ts';
import { kvmMmuMaxMappingLevel } from './max-mapping-level.ts';
import { slotLogsDirty } from './memslot.ts';
import { assertMmuLockHeldRead } from './mmu-lock.ts';
import { roleAccess, roleAdDisabled, roleGuestMode } from './mmu-page.ts';
import { nxHugePageDisallowed, setNxHugePageDisallowedPrivate, trackUnlessUnlinked } from './nx-huge-pages.ts';
import { type PageFault, RetPf, RetryReason } from './page-fault-info.ts';
import { gfnIsWriteTracked } from './page-track.ts';
import { setSpteAtomic, UpdateKind, zapSpteAtomic } from './set-spte.ts';
import { splitHugePage } from './split.ts';
import { AdType, isLargeSpte, isLastSpte, isShadowPresent, isWritable, type Spte, spteToChildPage } from './spte.ts';
import { type TdpIter, tdpIterNext, tdpIterStart } from './tdp-iter.ts';
import type { VcpuMmu } from './vcpu-mmu.ts';
import { readSpte } from './write-spte.ts';

/** What a fault without a memslot has for a PFN. */
export const NOSLOT_PFN = -1 as Pfn;

/**
 * Chooses the page size: the largest that the slot's geometry, write tracking and the host's mapping allow; 4K where the slot
 * logs dirty pages. An executable huge page that nx_huge_pages forbids is asked for, but not mapped.
 */
export function* kvmMmuHugepageAdjust(kvm: Kvm, fault: PageFault): Task<void> {
  fault.reqLevel = fault.goalLevel = PG_LEVEL_4K;
  const { slot } = fault;
  if (fault.maxLevel === PG_LEVEL_4K || slot === null || fault.pfn === NOSLOT_PFN) return;
  if (slotLogsDirty(slot)) return;
  fault.reqLevel = yield* kvmMmuMaxMappingLevel(kvm, slot, fault.gfn, fault.maxLevel);
  if (fault.reqLevel === PG_LEVEL_4K || fault.hugePageDisallowed) return;
  fault.goalLevel = fault.reqLevel;
  const span = kvm.geometry.span(fault.goalLevel);
  fault.pfn = (Math.floor(fault.pfn / span) * span) as Pfn;
}

/**
 * Where a huge page was split because something had to be executed from it, a later read fault maps small as well, or the two
 * would undo each other for ever.
 */
export function* disallowedHugepageAdjust(kvm: Kvm, fault: PageFault, spte: Spte, level: number): Task<void> {
  if (level <= PG_LEVEL_4K || level !== fault.goalLevel || !isShadowPresent(spte) || isLargeSpte(spte)) return;
  const any = kvm.generation.nxKeeps === 'all-tables';
  if (!any && !(yield* nxHugePageDisallowed(kvm, spteToChildPage(spte)))) return;
  const { geometry } = kvm;
  const inside = fault.gfn % geometry.span(level);
  fault.pfn = (fault.pfn + inside - (inside % geometry.span(level - 1))) as Pfn;
  fault.goalLevel--;
}

/** Maps `fault.gfn` to `fault.pfn`, linking and splitting as needed. mmu_lock is held for read. */
export function* kvmTdpMmuMap(kvm: Kvm, vcpu: VcpuMmu, fault: PageFault): Task<RetPf> {
  assertMmuLockHeldRead(kvm);
  const { iter } = vcpu;
  kvm.trace?.operation('tdp_map');
  yield* kvmMmuHugepageAdjust(kvm, fault);
  kvm.trace?.requested(fault.gfn, fault.goalLevel);
  yield* rcuReadLock(kvm.rcu, kvm.thread);
  const result = yield* mapUnderRcu(kvm, vcpu, fault, iter);
  yield* rcuReadUnlock(kvm.rcu, kvm.thread);
  return result;
}

function retry(fault: PageFault, reason: RetryReason): RetPf {
  fault.retryReason = reason;
  return RetPf.retry;
}

function* mapUnderRcu(kvm: Kvm, vcpu: VcpuMmu, fault: PageFault, iter: TdpIter): Task<RetPf> {
  const end = (fault.gfn + 1) as Gfn;
  const { bugs, generation, params } = kvm;
  yield* tdpIterStart(kvm, iter, vcpu.root, PG_LEVEL_4K, fault.gfn);
  for (; iter.inside(end); yield* tdpIterNext(kvm, iter)) {
    if (params.nxHugePages) yield* disallowedHugepageAdjust(kvm, fault, iter.oldSpte, iter.level);
    if (kvm.spte.isFrozen(iter.oldSpte) && bugs['install-over-frozen'] !== true) {
      kvm.counters[MmuCounter.frozen_met_fault]++;
      return retry(fault, RetryReason.frozen);
    }
    if (iter.level === fault.goalLevel) return yield* mapTargetLevel(kvm, fault, iter);
    if (isShadowPresent(iter.oldSpte) && !isLargeSpte(iter.oldSpte)) continue;
    const zapHuge = generation.hugeOnFault === 'zap' || bugs['zap-then-link-instead-of-split-on-fault'] === true;
    if (isShadowPresent(iter.oldSpte) && zapHuge) {
      if (!(yield* zapSpteAtomic(kvm, iter))) return retry(fault, RetryReason.cmpxchg);
      iter.oldSpte = yield* readSpte(kvm, iter.sptep);
      if (kvm.spte.isFrozen(iter.oldSpte)) return retry(fault, RetryReason.frozen);
      if (isShadowPresent(iter.oldSpte)) return retry(fault, RetryReason.lostLevel);
    }
    if (!(yield* linkOrSplit(kvm, vcpu, fault, iter))) return retry(fault, RetryReason.cmpxchg);
  }
  if (bugs['leaf-mapped-at-wrong-level'] === true) return yield* mapTargetLevel(kvm, fault, iter);
  // An entry above vanished while the walk stepped down. Nothing may be installed at another level: the guest tries again.
  return retry(fault, RetryReason.lostLevel);
}

/** Puts a table where the entry is empty or a huge leaf. Returns false where somebody else was first. */
function* linkOrSplit(kvm: Kvm, vcpu: VcpuMmu, fault: PageFault, iter: TdpIter): Task<boolean> {
  const page = tdpMmuAllocSp(vcpu);
  tdpMmuInitChildSp(kvm, page, iter);
  const late = kvm.bugs['nx-flag-set-after-link'] === true;
  if (!late) setNxHugePageDisallowedPrivate(kvm, page, fault.hugePageDisallowed);
  const huge = isShadowPresent(iter.oldSpte);
  const done = huge ? yield* splitHugePage(kvm, iter, page, true) : yield* tdpMmuLinkSp(kvm, iter, page, true, UpdateKind.link);
  if (!done) {
    returnToCache(vcpu.pageCache, kvm.allocator, kvm.thread, page);
    return false;
  }
  if (huge) kvm.counters[MmuCounter.splits_fault]++;
  if (late) setNxHugePageDisallowedPrivate(kvm, page, fault.hugePageDisallowed);
  if (fault.hugePageDisallowed && fault.reqLevel >= iter.level) yield* trackUnlessUnlinked(kvm, page);
  return true;
}

/** Which kind of A/D bits a leaf below the walk's root has. */
export function adTypeOf(kvm: Kvm, role: number): AdType {
  if (roleAdDisabled(role)) return AdType.disabled;
  return roleGuestMode(role) && kvm.params.pml ? AdType.writeProtectOnly : AdType.enabled;
}

/** Installs the leaf, or the MMIO SPTE where there is no slot. */
function* mapTargetLevel(kvm: Kvm, fault: PageFault, iter: TdpIter): Task<RetPf> {
  const { slot } = fault;
  const old = iter.oldSpte;
  let next: Spte;
  let writeTracked = false;
  if (slot === null || fault.pfn === NOSLOT_PFN) {
    const { number } = yield* kvm.slots.generation(kvm);
    const access = roleAccess(kvm.pages.role(iter.root));
    next = kvm.spte.makeMmio(iter.gfn, access, number);
  } else {
    writeTracked = yield* gfnIsWriteTracked(kvm, fault.gfn);
    const role = kvm.pages.role(iter.root);
    next = kvm.spte.makeLeaf({
      level: iter.level,
      pfn: fault.pfn,
      access: roleAccess(role),
      hostWritable: fault.mapWritable,
      writeTracked,
      prefetch: fault.prefetch,
      old,
      adType: adTypeOf(kvm, role),
    });
    // Marked before the exchange: safe, because the log is harvested under the write lock.
    if (isWritable(next) && slotLogsDirty(slot)) yield* markPageDirtyInSlot(kvm, slot, iter.gfn);
  }
  let result: RetPf = RetPf.fixed;
  if (equal64(next, old)) {
    result = RetPf.spurious;
  } else {
    if (!(yield* setSpteAtomic(kvm, iter, next, UpdateKind.leaf))) return retry(fault, RetryReason.cmpxchg);
    if (isShadowPresent(old) && !isLastSpte(old, iter.level)) {
      yield* kvmFlushRemovedTable(kvm, iter.gfn, iter.level);
    }
    if (isShadowPresent(next)) kvm.counters[MmuCounter.leaves_installed]++;
  }
  if (writeTracked && fault.write) {
    result = kvm.generation.writeProtectedResult ? RetPf.writeProtected : RetPf.emulate;
  }
  if (kvm.spte.isMmio(next)) {
    kvm.counters[MmuCounter.pf_mmio_spte_created]++;
    kvm.trace?.markMmioSpte(iter.gfn, roleAccess(kvm.pages.role(iter.root)), kvm.spte.mmioGeneration(next));
    result = RetPf.emulate;
  }
  return result;
}
