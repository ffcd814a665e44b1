/** Counters of the VM's host side and of its ioctls. */
import { defineCounters } from '../machine/counters.ts';

export const VM_COUNTERS_BASE = 160;

export const VM_COUNTERS = [
  { name: 'host_faults', unit: 'faults', help: 'host pages that the host faulted in' },
  { name: 'host_faults_huge', unit: 'faults', help: 'of them huge pages' },
  { name: 'host_zero_pages', unit: 'faults', help: 'reads of untouched memory that mapped the zero page' },
  { name: 'host_zero_breaks', unit: 'faults', help: 'writes that replaced the zero page' },
  { name: 'host_pages_dropped', unit: 'pages', help: 'host pages given up' },
  { name: 'host_pages_moved', unit: 'pages', help: 'host pages migrated or collapsed into another frame' },
  { name: 'notifier_invalidations', unit: 'calls', help: 'invalidate_range_start' },
  { name: 'notifier_elided', unit: 'calls', help: 'of them without a memslot in their range: no lock taken' },
  { name: 'notifier_ages', unit: 'calls', help: 'clear_young, clear_flush_young and test_young' },
  { name: 'notifier_ages_young', unit: 'calls', help: 'of them that found a page young' },
  { name: 'age_flushes', unit: 'flushes', help: 'TLB flushes because clear_flush_young found a page young' },
  { name: 'age_flushes_elided', unit: 'flushes', help: 'flushes that clear_flush_young left out (6.13)' },
  { name: 'memslot_changes', unit: 'ioctls', help: 'KVM_SET_USER_MEMORY_REGION that changed something' },
  { name: 'memslot_swaps', unit: 'swaps', help: 'memslot sets published' },
  { name: 'memslot_swap_waits', unit: 'swaps', help: 'of them that had to wait for an invalidation to end' },
  { name: 'dirty_log_gets', unit: 'ioctls', help: 'KVM_GET_DIRTY_LOG' },
  { name: 'dirty_log_clears', unit: 'ioctls', help: 'KVM_CLEAR_DIRTY_LOG' },
  { name: 'dirty_log_words', unit: 'words', help: '64-page words of dirty bitmaps harvested' },
] as const;

export type VmCounterName = (typeof VM_COUNTERS)[number]['name'];
export const VmCounter = defineCounters(VM_COUNTERS_BASE, VM_COUNTERS);
