/**
 * Step oracle: who walks invalid roots, and who must not. Nobody runs on an invalid root, so walks for the sake of running vCPUs
 * (zapping a range, protecting, splitting, collapsing) leave it alone.
 */
import { LockNumber } from '../../machine/lock-number.ts';
import { Site } from '../../mmu/site.ts';
import type { StepOracle } from '../step-oracle.ts';

/** Where mmu_lock is taken for walks for the benefit of running vCPUs. */
const FOR_RUNNING_VCPUS: ReadonlySet<number> = new Set([
  Site.kvm_zap_gfn_range,
  Site.kvm_mmu_slot_remove_write_access,
  Site.kvm_mmu_slot_leaf_clear_dirty,
  Site.kvm_tdp_mmu_try_split_huge_pages,
  Site.kvm_mmu_zap_collapsible_sptes,
  Site.kvm_get_dirty_log_protect,
  Site.kvm_clear_dirty_log_protect,
]);

export function invalidRootsOracle(): StepOracle {
  /** For each thread where it took mmu_lock for what it is doing: yields aside. */
  const sites: number[] = [];
  return {
    name: 'invalid-roots',
    help: 'walks for the sake of running vCPUs leave invalid roots alone',
    start() {
      sites.length = 0;
    },
    lockAcquired(_world, thread, lock, _mode, site) {
      if (lock === LockNumber.mmuLock && site !== Site.tdp_mmu_iter_cond_resched) sites[thread.id] = site;
    },
    walkStarted(world, thread, root) {
      if (!FOR_RUNNING_VCPUS.has(sites[thread.id]) || !world.isInvalid(root)) return;
      const message = `${thread.name} walks root ${root} for the sake of vCPUs, but it is invalid`;
      world.fail(this, 'invalid-root-walked', { thread: thread.id, root }, message);
    },
  };
}
