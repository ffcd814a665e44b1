/**
 * Re-arming dirty logging for the pages that GET or CLEAR reported (kernel: kvm_arch_mmu_enable_log_dirty_pt_masked in
 * mmu.c). mmu_lock is held for write; splitting may drop it.
 */
import type { Task } from '../machine/point.ts';
import type { Word64 } from '../machine/word64.ts';
import { kvmTdpMmuTrySplitHugePages } from './eager-split.ts';
import type { Kvm } from './kvm.ts';
import { asGfn, type Gfn, PG_LEVEL_2M, PG_LEVEL_4K } from './level.ts';
import type { Memslot } from './memslot.ts';
import { assertMmuLockHeldWrite } from './mmu-lock.ts';
import { kvmTdpMmuClearDirtyPtMasked, kvmTdpMmuWriteProtectGfn } from './write-protect.ts';

const lowestBit = (w: Word64): number => (w.lo !== 0 ? 31 - Math.clz32(w.lo & -w.lo) : 63 - Math.clz32(w.hi & -w.hi));
const highestBit = (w: Word64): number => (w.hi !== 0 ? 63 - Math.clz32(w.hi) : 31 - Math.clz32(w.lo));

/**
 * Protects the pages that `mask` names, bit i for page `offset + i` of the slot, so that their next write is logged again.
 *
 * In initially-set mode huge pages are still writable here: those that hold a named page are split, or write-protected for
 * good where they are not split eagerly.
 */
export function* kvmArchMmuEnableLogDirtyPtMasked(kvm: Kvm, slot: Memslot, offset: number, mask: Word64): Task<void> {
  if (kvm.bugs['harvest-under-read-lock-vs-make-spte'] !== true) assertMmuLockHeldWrite(kvm);
  if (kvm.backend !== null) {
    yield* kvm.backend.enableLogDirtyPtMasked(kvm, slot, offset, mask);
    return;
  }
  const { geometry } = kvm;
  const base = asGfn(slot.baseGfn + offset);
  if (kvm.params.initiallySet) {
    const first = asGfn(base + lowestBit(mask));
    const last = asGfn(base + highestBit(mask));
    if (kvm.params.eagerPageSplit && kvm.generation.eagerPageSplit) {
      const inclusive = kvm.generation.clearSplitEnd === 'inclusive' || kvm.bugs['split-range-off-by-one'] === true;
      yield* kvmTdpMmuTrySplitHugePages(kvm, slot, first, inclusive ? last : asGfn(last + 1), PG_LEVEL_4K, false);
    }
    yield* kvmTdpMmuWriteProtectGfn(kvm, slot, first, PG_LEVEL_2M);
    // A mask covers several huge pages only where tables are small: with 512 entries this loop has no turn.
    const span = geometry.span(PG_LEVEL_2M);
    for (let gfn = asGfn(geometry.round(first, PG_LEVEL_2M) + span); gfn < geometry.round(last, PG_LEVEL_2M); ) {
      yield* kvmTdpMmuWriteProtectGfn(kvm, slot, gfn, PG_LEVEL_2M);
      gfn = asGfn(gfn + span);
    }
    // The kernel compares the ends rounded up, not the pages that hold them: the second walk may find the first one's page.
    if (hugeCeiling(kvm, first) !== hugeCeiling(kvm, last)) yield* kvmTdpMmuWriteProtectGfn(kvm, slot, last, PG_LEVEL_2M);
  }
  yield* kvmTdpMmuClearDirtyPtMasked(kvm, slot, base, mask, !kvm.params.pml);
}

function hugeCeiling(kvm: Kvm, gfn: Gfn): Gfn {
  return kvm.geometry.round(asGfn(gfn + kvm.geometry.span(PG_LEVEL_2M) - 1), PG_LEVEL_2M);
}
