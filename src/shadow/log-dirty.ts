/**
 * Re-arming dirty logging for the pages that GET or CLEAR reported, by their reverse maps (kernel:
 * kvm_arch_mmu_enable_log_dirty_pt_masked, kvm_mmu_write_protect_pt_masked, kvm_mmu_clear_dirty_pt_masked in mmu.c).
 */
import type { Task } from '../machine/point.ts';
import type { Word64 } from '../machine/word64.ts';
import type { Kvm } from '../mmu/kvm.ts';
import { asGfn, MAX_HUGEPAGE_LEVEL, PG_LEVEL_2M, PG_LEVEL_4K } from '../mmu/level.ts';
import type { Memslot } from '../mmu/memslot.ts';
import type { Rmaps } from './rmap.ts';
import { clearDirtyRmap, writeProtectRmap, writeProtectRmapForGood } from './rmap-ops.ts';
import { handleRange, slotPart } from './slot-walk.ts';

const hasBit = (mask: Word64, i: number): boolean => ((i < 32 ? mask.lo >>> i : mask.hi >>> (i - 32)) & 1) !== 0;

/** Protects the 4K pages that `mask` names, bit i for page `offset + i` of the slot. mmu_lock is held, and the caller flushes. */
export function* enableLogDirtyPtMasked(kvm: Kvm, rmaps: Rmaps, slot: Memslot, offset: number, mask: Word64): Task<void> {
  const base = slot.baseGfn + offset;
  const bits: number[] = [];
  for (let i = 0; i < 64; i++) {
    if (hasBit(mask, i)) bits.push(i);
  }
  if (kvm.params.initiallySet && bits.length > 0) {
    // Nothing was protected when such a log began. Huge pages in reach are now, for good: their first write makes them small.
    const reach = slotPart(slot, asGfn(base + bits[0]), asGfn(base + bits[bits.length - 1] + 1));
    const huge = { ...reach, minLevel: PG_LEVEL_2M, maxLevel: MAX_HUGEPAGE_LEVEL };
    yield* handleRange(kvm, rmaps, huge, writeProtectRmapForGood);
  }
  const handler = kvm.params.pml ? clearDirtyRmap : writeProtectRmap;
  for (const i of bits) {
    const page = { ...slotPart(slot, asGfn(base + i), asGfn(base + i + 1)), maxLevel: PG_LEVEL_4K };
    yield* handleRange(kvm, rmaps, page, handler);
  }
}
