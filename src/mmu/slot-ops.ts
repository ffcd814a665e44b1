/**
 * Operations on a whole memslot, each with its own hold of mmu_lock (kernel: kvm_mmu_slot_try_split_huge_pages,
 * kvm_mmu_slot_remove_write_access, kvm_mmu_slot_leaf_clear_dirty, kvm_mmu_zap_collapsible_sptes /
 * kvm_mmu_recover_huge_pages in mmu.c). The caller holds slots_lock.
 */
import type { Task } from '../machine/point.ts';
import { kvmTdpMmuRecoverHugePages, kvmTdpMmuZapCollapsibleSptes } from './collapse.ts';
import { kvmTdpMmuTrySplitHugePages } from './eager-split.ts';
import { kvmFlushRemoteTlbs } from './flush.ts';
import type { Kvm } from './kvm.ts';
import type { Level } from './level.ts';
import { type Memslot, slotEnd } from './memslot.ts';
import { mmuReadLock, mmuReadUnlock } from './mmu-lock.ts';
import { Site } from './site.ts';
import { kvmTdpMmuClearDirtySlot, kvmTdpMmuWrprotSlot } from './write-protect.ts';

/** Splits the slot's huge pages down to `target`. No flush: translations stay the same. */
export function* kvmMmuSlotTrySplitHugePages(kvm: Kvm, slot: Memslot, target: Level): Task<void> {
  if (kvm.backend !== null) return;
  yield* mmuReadLock(kvm, Site.kvm_tdp_mmu_try_split_huge_pages);
  yield* kvmTdpMmuTrySplitHugePages(kvm, slot, slot.baseGfn, slotEnd(slot), target, true);
  yield* mmuReadUnlock(kvm);
}

/** Write-protects the slot's leaves at or above `minLevel`. Returns whether one was writable; the caller flushes. */
export function* kvmMmuSlotRemoveWriteAccess(kvm: Kvm, slot: Memslot, minLevel: Level): Task<boolean> {
  if (kvm.backend !== null) return yield* kvm.backend.slotRemoveWriteAccess(kvm, slot, minLevel);
  yield* mmuReadLock(kvm, Site.kvm_mmu_slot_remove_write_access);
  const changed = yield* kvmTdpMmuWrprotSlot(kvm, slot, minLevel);
  yield* mmuReadUnlock(kvm);
  return changed;
}

/** Clears the dirty-tracking bit of all the slot's leaves. Returns whether one had it; the caller flushes. */
export function* kvmMmuSlotLeafClearDirty(kvm: Kvm, slot: Memslot): Task<boolean> {
  if (kvm.backend !== null) return yield* kvm.backend.slotLeafClearDirty(kvm, slot);
  yield* mmuReadLock(kvm, Site.kvm_mmu_slot_leaf_clear_dirty);
  const changed = yield* kvmTdpMmuClearDirtySlot(kvm, slot);
  yield* mmuReadUnlock(kvm);
  return changed;
}

/** Lets huge pages come back where the slot's tables allow them: by zapping, or in place from 6.13 on. */
export function* kvmMmuZapCollapsibleSptes(kvm: Kvm, slot: Memslot): Task<void> {
  if (kvm.backend !== null) {
    yield* kvm.backend.slotZapCollapsible(kvm, slot);
    return;
  }
  if (kvm.generation.recoverHugePages === 'never') return;
  yield* mmuReadLock(kvm, Site.kvm_mmu_zap_collapsible_sptes);
  if (kvm.generation.recoverHugePages === 'in-place') yield* kvmTdpMmuRecoverHugePages(kvm, slot);
  else yield* kvmTdpMmuZapCollapsibleSptes(kvm, slot);
  yield* mmuReadUnlock(kvm);
}

/** Flushes after an operation on a slot; outside mmu_lock, because slots_lock keeps other harvests away. */
export function* kvmArchFlushRemoteTlbsMemslot(kvm: Kvm, _slot: Memslot): Task<void> {
  kvm.trace?.operation('flush_memslot');
  yield* kvmFlushRemoteTlbs(kvm);
}
