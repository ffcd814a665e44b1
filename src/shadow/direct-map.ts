/**
 * Mapping a fault under the spinlock (kernel: tdp_page_fault, __direct_map, mmu_set_spte before 5.10).
 *
 * Every fault holds mmu_lock alone, for the walk, the tables and the reverse map: this is what 416 vCPUs queue for.
 */
import { read, type Task } from '../machine/point.ts';
import { equal64 } from '../machine/word64.ts';
import { MmuCounter } from '../mmu/counters.ts';
import { kvmFlushRemoteTlbs } from '../mmu/flush.ts';
import type { Kvm } from '../mmu/kvm.ts';
import { asGfn, PG_LEVEL_4K } from '../mmu/level.ts';
import { kvmMmuHugepageAdjust, NOSLOT_PFN } from '../mmu/map.ts';
import { markPageDirtyInSlot } from '../mmu/mark-dirty.ts';
import { slotLogsDirty } from '../mmu/memslot.ts';
import { childRole, roleAccess, roleAdDisabled } from '../mmu/mmu-page.ts';
import { type PageFault, RetPf } from '../mmu/page-fault-info.ts';
import { gfnIsWriteTracked } from '../mmu/page-track.ts';
import { AdType, isLargeSpte, isLastSpte, isShadowPresent, isWritable, sptePfn, spteToChildPage } from '../mmu/spte.ts';
import type { VcpuMmu } from '../mmu/vcpu-mmu.ts';
import { readSpte, writeSpte } from '../mmu/write-spte.ts';
import { dropSpte, rmapAdd } from './drop-spte.ts';
import type { Rmaps } from './rmap.ts';
import { dropParentPte, getPage, linkShadowPage } from './shadow-page.ts';

/** Walks from the root to the goal, linking what is missing, and installs the leaf. mmu_lock is held. */
export function* directMap(kvm: Kvm, rmaps: Rmaps, vcpu: VcpuMmu, fault: PageFault): Task<RetPf> {
  kvm.trace?.operation('tdp_map');
  yield* kvmMmuHugepageAdjust(kvm, fault);
  kvm.trace?.requested(fault.gfn, fault.goalLevel);
  const { geometry, pages } = kvm;
  let page = vcpu.root;
  for (let level = geometry.rootLevel; ; level--) {
    const sptep = pages.sptep(page, geometry.index(fault.gfn, level));
    kvm.counters[MmuCounter.iter_steps]++;
    if (level === fault.goalLevel) return yield* setLeaf(kvm, rmaps, fault, page, level, sptep);
    let spte = yield* readSpte(kvm, sptep);
    if (isShadowPresent(spte) && isLargeSpte(spte)) {
      // A huge page where a smaller one is wanted: it goes, and its neighbours fault again.
      yield* dropSpte(kvm, rmaps, sptep);
      yield* kvmFlushRemoteTlbs(kvm);
      spte = kvm.spte.nonpresent;
    }
    if (!isShadowPresent(spte)) {
      const role = childRole(kvm.memory.load32(yield read(pages.word(page, 4))));
      const child = yield* getPage(kvm, rmaps, vcpu, geometry.round(fault.gfn, level), role);
      yield* linkShadowPage(kvm, rmaps, sptep, child);
      page = child;
    } else {
      page = spteToChildPage(spte);
    }
  }
}

function* setLeaf(
  kvm: Kvm,
  rmaps: Rmaps,
  fault: PageFault,
  page: number,
  level: number,
  sptep: ReturnType<Kvm['pages']['sptep']>,
): Task<RetPf> {
  const role = kvm.pages.role(page);
  const gfn = kvm.geometry.round(fault.gfn, level);
  let old = yield* readSpte(kvm, sptep);
  const { slot } = fault;
  if (slot === null || fault.pfn === NOSLOT_PFN) {
    const { number } = yield* kvm.slots.generation(kvm);
    yield* writeSpte(kvm, sptep, old, kvm.spte.makeMmio(gfn, roleAccess(role), number), level);
    kvm.trace?.markMmioSpte(gfn, roleAccess(role), number);
    kvm.counters[MmuCounter.pf_mmio_spte_created]++;
    return RetPf.emulate;
  }
  if (isShadowPresent(old)) {
    const table = level > PG_LEVEL_4K && !isLastSpte(old, level);
    if (table) yield* dropParentPte(kvm, rmaps, spteToChildPage(old), sptep);
    else if (sptePfn(old) !== fault.pfn) yield* dropSpte(kvm, rmaps, sptep);
    if (table || sptePfn(old) !== fault.pfn) {
      yield* kvmFlushRemoteTlbs(kvm);
      old = kvm.spte.nonpresent;
    }
  }
  const writeTracked = yield* gfnIsWriteTracked(kvm, fault.gfn);
  const next = kvm.spte.makeLeaf({
    level,
    pfn: fault.pfn,
    access: roleAccess(role),
    hostWritable: fault.mapWritable,
    writeTracked,
    prefetch: fault.prefetch,
    old,
    adType: roleAdDisabled(role) ? AdType.disabled : AdType.enabled,
  });
  if (isWritable(next) && slotLogsDirty(slot)) yield* markPageDirtyInSlot(kvm, slot, fault.gfn);
  if (writeTracked && fault.write) return RetPf.emulate;
  if (equal64(next, old)) return RetPf.spurious;
  const seen = yield* writeSpte(kvm, sptep, old, next, level);
  kvm.trace?.spteChanged(fault.asId, gfn, level, seen, next);
  if (!isShadowPresent(old)) {
    yield* rmapAdd(kvm, rmaps, slot, asGfn(gfn), level, sptep);
    kvm.counters[MmuCounter.leaves_installed]++;
  }
  return RetPf.fixed;
}
