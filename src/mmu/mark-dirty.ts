/** Marking a gfn dirty in its slot's log (kernel: mark_page_dirty_in_slot, virt/kvm/kvm_main.c). */
import { type Address, rmw, type Task } from '../machine/point.ts';
import { MmuCounter } from './counters.ts';
import { kvmDirtyRingPush } from './dirty-ring.ts';
import type { Kvm } from './kvm.ts';
import type { Gfn } from './level.ts';
import { type Memslot, slotLogsDirty } from './memslot.ts';

/** Sets the gfn's bit of the dirty bitmap, or pushes it to the running vCPU's dirty ring, if the slot logs. */
export function* markPageDirtyInSlot(kvm: Kvm, slot: Memslot, gfn: Gfn): Task<void> {
  if (!slotLogsDirty(slot)) return;
  const offset = gfn - slot.baseGfn;
  if (kvm.layout.dirtyRings !== null && kvm.runningVcpu >= 0) {
    yield* kvmDirtyRingPush(kvm, kvm.runningVcpu, slot, offset);
    return;
  }
  if (slot.dirtyBitmap === 0) return;
  const word = (slot.dirtyBitmap + Math.floor(offset / 32)) as Address;
  const bit = 1 << (offset & 31);
  kvm.trace?.markPageDirty(slot.id, gfn);
  kvm.counters[MmuCounter.gfns_marked_dirty]++;
  kvm.memory.or32(yield rmw(word), bit);
}
