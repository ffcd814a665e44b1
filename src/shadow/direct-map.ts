/**
 * Mapping a fault under the spinlock (kernel: __direct_map, mmu_set_spte, drop_large_spte in arch/x86/kvm/mmu.c of 5.4).
 *
 * Every fault holds mmu_lock alone, for the walk, the tables and the reverse map: this is what 416 vCPUs queue for. Left out:
 * mapping neighbours ahead of their faults (direct_pte_prefetch).
 */
import { Cost } from '../machine/cost.ts';
import { type Address, spend, type Task } from '../machine/point.ts';
import { equal64 } from '../machine/word64.ts';
import { MmuCounter } from '../mmu/counters.ts';
import { kvmFlushRemoteTlbsRange } from '../mmu/flush.ts';
import type { Kvm } from '../mmu/kvm.ts';
import { type Gfn, type Level, PG_LEVEL_4K } from '../mmu/level.ts';
import { adTypeOf, disallowedHugepageAdjust, kvmMmuHugepageAdjust, NOSLOT_PFN } from '../mmu/map.ts';
import { markPageDirtyInSlot } from '../mmu/mark-dirty.ts';
import { type Memslot, slotLogsDirty } from '../mmu/memslot.ts';
import { assertMmuLockHeldWrite } from '../mmu/mmu-lock.ts';
import { childRole, roleAccess, roleAsId } from '../mmu/mmu-page.ts';
import { type PageFault, RetPf } from '../mmu/page-fault-info.ts';
import { gfnIsWriteTracked } from '../mmu/page-track.ts';
import { isLargeSpte, isShadowPresent, isWritable, type Spte, sptePfn, spteToChildPage } from '../mmu/spte.ts';
import type { VcpuMmu } from '../mmu/vcpu-mmu.ts';
import { readSpte, writeSptePlain } from '../mmu/write-spte.ts';
import { dropSpte, rmapAdd } from './drop-spte.ts';
import { mmuNeedWriteProtect } from './need-write-protect.ts';
import type { Rmaps } from './rmap.ts';
import { accountHugeNxPage, dropParentPte, getPage, linkShadowPage } from './shadow-page.ts';
import { mmuSpteUpdate, traceChange } from './shadow-spte.ts';

/** Walks from the root to the goal, linking what is missing, and installs the leaf. mmu_lock is held. */
export function* directMap(kvm: Kvm, rmaps: Rmaps, vcpu: VcpuMmu, fault: PageFault): Task<RetPf> {
  assertMmuLockHeldWrite(kvm);
  kvm.trace?.operation('tdp_map');
  yield* kvmMmuHugepageAdjust(kvm, fault);
  kvm.trace?.requested(fault.gfn, fault.goalLevel);
  kvm.counters[MmuCounter.iter_walks]++;
  const { geometry, pages } = kvm;
  let page = vcpu.root;
  for (let level = geometry.rootLevel; ; level--) {
    const sptep = pages.sptep(page, geometry.index(fault.gfn, level));
    yield spend(Cost.iterStep);
    kvm.counters[MmuCounter.iter_steps]++;
    let spte = yield* readSpte(kvm, sptep);
    if (kvm.params.nxHugePages) yield* disallowedHugepageAdjust(kvm, fault, spte, level);
    if (level === fault.goalLevel) return yield* installLeaf(kvm, rmaps, fault, { page, level, sptep, spte });
    if (isShadowPresent(spte) && isLargeSpte(spte)) {
      // A huge page where a smaller one is wanted: it goes, and its neighbours fault again.
      yield* dropSpte(kvm, rmaps, sptep);
      yield* kvmFlushRemoteTlbsRange(kvm, geometry.round(fault.gfn, level), geometry.span(level));
      spte = kvm.spte.nonpresent;
    }
    if (isShadowPresent(spte)) {
      page = spteToChildPage(spte);
      continue;
    }
    page = yield* getPage(kvm, rmaps, vcpu, geometry.round(fault.gfn, level), childRole(pages.role(page)));
    yield* linkShadowPage(kvm, rmaps, sptep, page);
    if (fault.hugePageDisallowed && fault.reqLevel >= level) yield* accountHugeNxPage(kvm, page);
  }
}

/** Where the walk ended. */
interface Goal {
  readonly page: number;
  readonly level: Level;
  readonly sptep: Address;
  readonly spte: Spte;
}

/** Puts the leaf, or the MMIO SPTE where there is no slot, in place of whatever is there (mmu_set_spte). */
function* installLeaf(kvm: Kvm, rmaps: Rmaps, fault: PageFault, goal: Goal): Task<RetPf> {
  const { level, sptep } = goal;
  const gfn = kvm.geometry.round(fault.gfn, level);
  let old = goal.spte;
  let flush = false;
  if (isShadowPresent(old)) {
    if (level > PG_LEVEL_4K && !isLargeSpte(old)) {
      // The table is left for the hash to find again, with whatever it maps.
      yield* dropParentPte(kvm, rmaps, spteToChildPage(old), sptep);
      flush = true;
    } else if (sptePfn(old) !== fault.pfn) {
      yield* dropSpte(kvm, rmaps, sptep);
      flush = true;
    }
    if (flush) old = kvm.spte.nonpresent;
  }
  const { slot } = fault;
  let result: RetPf;
  if (slot === null || fault.pfn === NOSLOT_PFN) {
    yield* installMmio(kvm, gfn, goal);
    result = RetPf.emulate;
  } else {
    const next = yield* makeLeaf(kvm, rmaps, slot, fault, goal, old);
    result = equal64(next, old) ? RetPf.spurious : RetPf.fixed;
    if (result === RetPf.fixed) {
      if (yield* storeLeaf(kvm, rmaps, slot, gfn, goal, old, next)) flush = true;
    }
    if (fault.write && !isWritable(next) && (yield* gfnIsWriteTracked(kvm, fault.gfn))) {
      result = kvm.generation.writeProtectedResult ? RetPf.writeProtected : RetPf.emulate;
    }
  }
  if (flush) yield* kvmFlushRemoteTlbsRange(kvm, gfn, kvm.geometry.span(level));
  return result;
}

function* installMmio(kvm: Kvm, gfn: Gfn, { page, sptep, spte }: Goal): Task<void> {
  const access = roleAccess(kvm.pages.role(page));
  const { number } = yield* kvm.slots.generation(kvm);
  const next = kvm.spte.makeMmio(gfn, access, number);
  yield* writeSptePlain(kvm, sptep, next);
  traceChange(kvm, sptep, isShadowPresent(spte) ? kvm.spte.nonpresent : spte, next);
  kvm.trace?.markMmioSpte(gfn, access, kvm.spte.mmioGeneration(next));
  kvm.counters[MmuCounter.pf_mmio_spte_created]++;
}

/** The leaf's value. Where it is writable and the slot logs, its gfn is marked now (set_spte). */
function* makeLeaf(kvm: Kvm, rmaps: Rmaps, slot: Memslot, fault: PageFault, { page, level }: Goal, old: Spte): Task<Spte> {
  const role = kvm.pages.role(page);
  const next = kvm.spte.makeLeaf({
    level,
    pfn: fault.pfn,
    access: roleAccess(role),
    hostWritable: fault.mapWritable,
    writeTracked: fault.mapWritable && (yield* mmuNeedWriteProtect(kvm, rmaps, fault.gfn)),
    prefetch: fault.prefetch,
    old,
    adType: adTypeOf(kvm, role),
  });
  // The log is harvested under mmu_lock, so nobody can take the mark before the SPTE is there.
  if (isWritable(next) && slotLogsDirty(slot)) yield* markPageDirtyInSlot(kvm, slot, fault.gfn);
  return next;
}

/** Stores the leaf: over another of the same page, or where nothing was. Returns whether a flush is owed. */
function* storeLeaf(kvm: Kvm, rmaps: Rmaps, slot: Memslot, gfn: Gfn, goal: Goal, old: Spte, next: Spte): Task<boolean> {
  const { level, sptep, page } = goal;
  if (isShadowPresent(old)) return yield* mmuSpteUpdate(kvm, sptep, old, next);
  yield spend(Cost.spteChange);
  kvm.spte.checkWritableInvariants(next);
  yield* writeSptePlain(kvm, sptep, next);
  kvm.trace?.spteChanged(roleAsId(kvm.pages.role(page)), gfn, level, old, next);
  yield* rmapAdd(kvm, rmaps, slot, gfn, level, sptep);
  kvm.counters[MmuCounter.leaves_installed]++;
  return false;
}
