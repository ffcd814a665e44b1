/**
 * The events that a recording may hold: what the simulator can report, and what is left out of the comparison. A recording
 * with any other event is from a recorder that saw something else, and says nothing about the model.
 */
import { NOISE } from './normalize.ts';

const REPORTED: readonly string[] = [
  'spte',
  'npf',
  'requested',
  'new_table',
  'table_removed',
  'split_huge_page',
  'tdp_map',
  'tdp_map_ret',
  'tdp_page_fault_ret',
  'fast_page_fault',
  'mmu_lock.read_lock',
  'mmu_lock.read_unlock',
  'mmu_lock.write_lock',
  'mmu_lock.write_unlock',
  'iter_start',
  'iter_restart',
  'yield_read',
  'yield_write',
  'flush_all',
  'flush_range',
  'flush_memslot',
  'unmap_gfn_range',
  'age_gfn_range',
  'set_spte_gfn',
  'invalidate_end',
  'inval_roots',
  'zap_all',
  'zap_collapsible',
  'zap_invalidated_roots',
  'kvm_mmu_zap_all_fast',
  'recover_huge_pages',
  'try_split',
  'wrprot_slot',
  'write_protect_gfn',
  'clear_dirty_slot',
  'clear_dirty_pt_masked',
  'alloc_root',
  'get_root_hpa',
  'load_root',
  'mark_mmio_spte',
  'check_mmio_spte',
  'handle_mmio_page_fault',
  'kvm_mmio',
  'kvm_dirty_ring_push',
];

/** Every event of a recording is one of these. */
export const EVENT_NAMES: ReadonlySet<string> = new Set([...REPORTED, ...NOISE]);
