/**
 * The MMU's tracepoints: what `perf trace` and the kernel's own events would show, and the entry of the operations.
 *
 * A `Kvm` without a listener pays one test for null a point. Listeners must not touch the arena through grants. Values are
 * the kernel's: gfns in pages, levels from 1.
 */
import type { Address } from '../machine/point.ts';
import type { Gfn, Level } from './level.ts';
import type { RetPf } from './page-fault-info.ts';
import type { Spte } from './spte.ts';

/** Operations that announce their entry and nothing more. */
export type TracedOperation =
  | 'alloc_root'
  | 'load_root'
  | 'inval_roots'
  | 'zap_invalidated_roots'
  | 'zap_all'
  | 'kvm_mmu_zap_all_fast'
  | 'unmap_gfn_range'
  | 'age_gfn_range'
  | 'set_spte_gfn'
  | 'invalidate_end'
  | 'flush_memslot'
  | 'flush_all'
  | 'tdp_map'
  | 'zap_collapsible'
  | 'recover_huge_pages';

export interface MmuTrace {
  /** An operation begins. */
  operation(name: TracedOperation): void;
  /** kvm_page_fault: a nested page fault is about to be handled. */
  pageFault(vcpu: number, gfn: Gfn, errorCode: number): void;
  /** The fault was handled (return of kvm_tdp_page_fault): a {@link RetPf}, or a negative errno. */
  pageFaultDone(vcpu: number, gfn: Gfn, result: number): void;
  /** kvm_mmu_spte_requested: the level that the fault wants to map. */
  requested(gfn: Gfn, level: Level): void;
  /** Return of kvm_tdp_mmu_map. */
  mapped(result: RetPf): void;
  /** fast_page_fault: old and new are equal where it declined. */
  fastPageFault(
    vcpu: number,
    gfn: Gfn,
    errorCode: number,
    sptep: Address,
    old: Spte,
    next: Spte,
    result: RetPf,
    level: Level,
  ): void;
  /** kvm_tdp_mmu_spte_changed. */
  spteChanged(asId: number, gfn: Gfn, level: Level, old: Spte, next: Spte): void;
  /** An SPTE was frozen by the calling thread: not a tracepoint of the kernel; frozen time is measured from here. */
  spteFrozen(sptep: Address, gfn: Gfn, level: Level): void;
  spteThawed(sptep: Address): void;
  /** kvm_mmu_get_page: a page-table page of `level` for `gfn`, not yet linked. */
  getPage(page: number, gfn: Gfn, level: Level): void;
  /** kvm_mmu_prepare_zap_page: a page-table page was unlinked. */
  prepareZapPage(page: number, gfn: Gfn, level: Level): void;
  /** kvm_mmu_split_huge_page; errno 0 or negative. */
  splitHugePage(gfn: Gfn, spte: Spte, level: Level, errno: number): void;
  /** A walk begins; every restart of it, the first included, follows as `iterRestart`. */
  iterStart(minLevel: Level, gfn: Gfn, root: number): void;
  iterRestart(goal: Gfn): void;
  /** A walk of a root's zap begins, for entries at or below `zapLevel`: not a tracepoint of the kernel. */
  zapRootPass?(asId: number, zapLevel: Level): void;
  /** What came before on this thread was preparation: not a tracepoint of the kernel; who counts events begins anew. */
  prepared?(): void;
  /** cond_resched of mmu_lock took place. */
  yielded(mode: 'read' | 'write'): void;
  trySplit(start: Gfn, end: Gfn, target: Level, shared: boolean): void;
  wrprotSlot(minLevel: Level): void;
  clearDirtySlot(): void;
  writeProtectGfn(gfn: Gfn, minLevel: Level): void;
  clearDirtyPtMasked(gfn: Gfn, mask: bigint, wrprot: boolean): void;
  flushRange(gfn: Gfn, pages: number): void;
  markMmioSpte(gfn: Gfn, access: number, generation: number): void;
  checkMmioSpte(spte: Spte, kvmGeneration: number, spteGeneration: number): void;
  handleMmioPageFault(gfn: Gfn, access: number): void;
  /** Bounds of a notifier range in host pages of its region. */
  unmapHvaRange(region: number, first: number, end: number): void;
  ageHvaRange(region: number, first: number, end: number): void;
  markPageDirty(slot: number, gfn: Gfn): void;
  dirtyRingPush(vcpu: number, slot: number, offset: number): void;
  mmio(vcpu: number, gfn: Gfn, write: boolean): void;
}
