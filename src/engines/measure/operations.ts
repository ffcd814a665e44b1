/**
 * Operations to which walk steps are charged: page faults, and what ioctls and notifiers do to ranges.
 */
import type { TracedOperation } from '../../mmu/trace.ts';

export const OPERATIONS = [
  'none',
  'page_fault',
  'try_split_huge_pages',
  'wrprot_slot',
  'clear_dirty_slot',
  'clear_dirty_pt_masked',
  'write_protect_gfn',
  'unmap_gfn_range',
  'age_gfn_range',
  'set_spte_gfn',
  'zap_invalidated_roots',
  'zap_all',
  'zap_collapsible',
  'recover_huge_pages',
] as const;

export type OperationName = (typeof OPERATIONS)[number];

/** Index by name. */
export const Operation = Object.fromEntries(OPERATIONS.map((name, i) => [name, i])) as Readonly<Record<OperationName, number>>;

/** The operation that a tracepoint announces, or 0 for those that walk nothing. */
export function operationOf(name: TracedOperation): number {
  return name in Operation ? Operation[name as OperationName] : 0;
}
