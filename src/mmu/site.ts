/**
 * Call sites of locks: what the kernel's lock contention tools print as the caller.
 *
 * A site is an index into {@link SITES}; locks report it to the probe.
 */
export const SITES = [
  'kvm_tdp_page_fault',
  'mmu_alloc_direct_roots',
  'kvm_tdp_mmu_try_split_huge_pages',
  'kvm_mmu_slot_remove_write_access',
  'kvm_mmu_slot_leaf_clear_dirty',
  'kvm_mmu_zap_collapsible_sptes',
  'kvm_get_dirty_log_protect',
  'kvm_clear_dirty_log_protect',
  'kvm_zap_gfn_range',
  'kvm_mmu_zap_all_fast',
  'kvm_tdp_mmu_zap_invalidated_roots',
  'kvm_mmu_notifier_invalidate_range_start',
  'kvm_mmu_notifier_invalidate_range_end',
  'kvm_mmu_notifier_clear_young',
  'kvm_mmu_notifier_clear_flush_young',
  'kvm_mmu_notifier_test_young',
  'kvm_mmu_notifier_change_pte',
  'kvm_mmu_zap_all',
  'kvm_recover_nx_huge_pages',
  'tdp_mmu_zap_root_work',
  'kvm_set_memory_region',
  'kvm_mmu_slot_gfn_write_protect',
  'kvm_vm_ioctl_get_dirty_log',
  'kvm_vm_ioctl_clear_dirty_log',
  'kvm_mmu_load',
  'kvm_mmu_unload',
  'tdp_mmu_split_huge_pages_root',
  'tdp_mmu_iter_cond_resched',
  'kvm_tdp_mmu_get_vcpu_root',
  'kvm_tdp_mmu_put_root',
  'tdp_mmu_unlink_sp',
  'kvm_tdp_mmu_map',
  'kvm_swap_active_memslots',
  'kvm_tdp_map_page',
  'kvm_arch_commit_memory_region',
  'direct_page_fault',
  'kvm_mmu_zap_oldest_mmu_pages',
  'host_page_table',
  'alloc_pages',
  'kvm_dirty_ring_reset',
  'kvm_page_track_add_page',
  'set_nx_huge_pages',
  'kvm_destroy_vm',
  'kvm_mmu_reset_all_pte_masks',
  'user',
  'slot_handle_level_range',
  'kvm_zap_obsolete_pages',
] as const;

export type SiteName = (typeof SITES)[number];

/** Index of a site by its name. */
export const Site = Object.fromEntries(SITES.map((name, i) => [name, i])) as Readonly<Record<SiteName, number>>;
