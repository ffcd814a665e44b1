/**
 * Which events the recorded kernels can report: functions and tracepoints come and go with releases, the behaviour that
 * they report is `generation.ts`'s.
 */
import type { KernelName } from '../../mmu/generation.ts';

export interface TracePoints {
  /** What marks the allocation of a root: before mmu_lock is taken, or inside. */
  readonly rootAllocation: 'alloc_root' | 'get_root_hpa';
  /** Events that this kernel has no function for, or has it inlined. */
  readonly absent: readonly string[];
}

const recent: TracePoints = { rootAllocation: 'alloc_root', absent: [] };
const old: TracePoints = { rootAllocation: 'get_root_hpa', absent: ['flush_range', 'flush_memslot', 'invalidate_end'] };

export const TRACE_POINTS: Readonly<Record<KernelName, TracePoints>> = {
  '5.15': old,
  '5.18': old,
  '6.1': old,
  '6.12': recent,
  '6.13': recent,
};
