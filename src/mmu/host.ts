/**
 * What the MMU asks of the host's memory management: get_user_pages, the host's mapping level, and where accessed and dirty
 * information goes. The VM layer implements it.
 */
import type { Task } from '../machine/point.ts';
import type { Kvm } from './kvm.ts';
import type { Gfn, Level, Pfn } from './level.ts';
import type { Memslot } from './memslot.ts';
import type { PageFault } from './page-fault-info.ts';

/** How looking up a PFN ended. */
export const FaultinResult = {
  ok: 0,
  /** No host mapping, or a write to one that is read-only: KVM_RUN fails with EFAULT. */
  error: 1,
} as const;
export type FaultinResult = (typeof FaultinResult)[keyof typeof FaultinResult];

export interface Host {
  /**
   * get_user_pages for `fault.gfn`: populates the host page where needed (which may call the MMU notifier, that is, take
   * mmu_lock for write) and leaves `fault.pfn` and `fault.mapWritable` behind. Called without mmu_lock.
   */
  faultin(kvm: Kvm, fault: PageFault): Task<FaultinResult>;
  /** Level at which the host maps the page (host_pfn_mapping_level): reads each level once, takes no lock. */
  mappingLevel(kvm: Kvm, slot: Memslot, gfn: Gfn): Task<Level>;
  /** kvm_set_pfn_dirty. */
  setPageDirty(kvm: Kvm, pfn: Pfn): void;
  /** kvm_set_pfn_accessed. */
  setPageAccessed(kvm: Kvm, pfn: Pfn): void;
}
