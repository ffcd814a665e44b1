/** The kernel's functions that the MMU announces (arch/x86/kvm/mmu, 6.12; where another kernel has it, that kernel's). */
import type { TracedOperation } from '../mmu/trace.ts';

export const KERNEL_FUNCTIONS: Readonly<Record<TracedOperation, string>> = {
  alloc_root: 'kvm_tdp_mmu_alloc_root',
  load_root: 'kvm_mmu_load',
  inval_roots: 'kvm_tdp_mmu_invalidate_roots',
  zap_invalidated_roots: 'kvm_tdp_mmu_zap_invalidated_roots',
  zap_all: 'kvm_mmu_zap_all',
  kvm_mmu_zap_all_fast: 'kvm_mmu_zap_all_fast',
  unmap_gfn_range: 'kvm_unmap_gfn_range',
  age_gfn_range: 'kvm_age_gfn',
  set_spte_gfn: 'kvm_set_spte_gfn',
  invalidate_end: 'kvm_mmu_invalidate_end',
  flush_memslot: 'kvm_flush_remote_tlbs_memslot',
  flush_all: 'kvm_flush_remote_tlbs',
  tdp_map: 'kvm_tdp_mmu_map',
  zap_collapsible: 'kvm_mmu_zap_collapsible_sptes',
  recover_huge_pages: 'kvm_mmu_recover_huge_pages',
};
