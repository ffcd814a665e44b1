/** Linking page-table pages (kernel: tdp_mmu_alloc_sp, tdp_mmu_init_child_sp and tdp_mmu_link_sp in tdp_mmu.c). */
import { markLive, markUnlinked } from '../machine/page-allocator.ts';
import { takeFromCache } from '../machine/page-cache.ts';
import type { Address, Task } from '../machine/point.ts';
import { MmuCounter } from './counters.ts';
import type { Kvm } from './kvm.ts';
import type { Gfn } from './level.ts';
import { childRole, roleAdDisabled, roleLevel } from './mmu-page.ts';
import { iterSetSpte, setSpteAtomic } from './set-spte.ts';
import type { TdpIter } from './tdp-iter.ts';
import type { VcpuMmu } from './vcpu-mmu.ts';
import { addVmStat, VmStat } from './vm-stat.ts';

/** Takes a page-table page from the vCPU's cache, which was filled before mmu_lock was taken. */
export function tdpMmuAllocSp(vcpu: VcpuMmu): number {
  return takeFromCache(vcpu.pageCache);
}

/** Writes the header of the table that is to hang below the iterator's position; the role follows from its parent's. */
export function tdpMmuInitChildSp(kvm: Kvm, page: number, iter: TdpIter): void {
  const parent = kvm.pages.role(iter.path[iter.level]);
  initSp(kvm, page, childRole(parent), iter.gfn, iter.sptep);
}

/** Writes a page's header and announces it (tdp_mmu_init_sp). */
export function initSp(kvm: Kvm, page: number, role: number, gfn: Gfn, ptep: Address | 0): void {
  kvm.pages.initialize(page, role, gfn, ptep);
  kvm.trace?.getPage(page, gfn, roleLevel(role));
}

/**
 * Links `page` at the iterator's position.
 *
 * @param shared whether mmu_lock is held for read
 * @returns whether it did: under the read lock somebody else may have been first
 */
export function* tdpMmuLinkSp(kvm: Kvm, iter: TdpIter, page: number, shared: boolean, kind: number): Task<boolean> {
  const spte = kvm.spte.makeNonleaf(page, roleAdDisabled(kvm.pages.role(page)));
  markLive(kvm.allocator, kvm.thread, page);
  if (shared) {
    if (!(yield* setSpteAtomic(kvm, iter, spte, kind))) {
      markUnlinked(kvm.allocator, kvm.thread, page);
      return false;
    }
  } else {
    yield* iterSetSpte(kvm, iter, spte);
  }
  kvm.counters[MmuCounter.tables_linked]++;
  yield* addVmStat(kvm, VmStat.tdpMmuPages, 1);
  return true;
}
