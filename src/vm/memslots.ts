/**
 * Finding memslots and publishing new ones (kernel: gfn_to_memslot, kvm_swap_active_memslots in virt/kvm/kvm_main.c).
 *
 * A thread decodes a set once for each publication. A look-up on the fault path is then one shared load, and a comparison
 * with the slot found last.
 */
import type { Memory } from '../machine/memory.ts';
import { mutexUnlock } from '../machine/mutex.ts';
import { own, read, relax, type Task } from '../machine/point.ts';
import { spinLock, spinUnlock } from '../machine/spinlock.ts';
import { synchronizeSrcu } from '../machine/srcu.ts';
import { type Kvm, KvmWord } from '../mmu/kvm.ts';
import type { Gfn } from '../mmu/level.ts';
import type { Memslot } from '../mmu/memslot.ts';
import type { MemslotLookup, SlotGeneration } from '../mmu/memslot-lookup.ts';
import { kvmMmuInvalidateMmioSptes } from '../mmu/mmio.ts';
import { Site } from '../mmu/site.ts';
import { MemslotSets } from './memslot-sets.ts';
import { VmCounter } from './vm-counters.ts';
import { ADDRESS_SPACES, type VmLayout } from './vm-layout.ts';

/** What a thread decoded last of an address space. */
export interface DecodedSlots {
  readonly active: number;
  readonly slots: readonly Memslot[];
  readonly last: Memslot | null;
}

class Decoded {
  active = -1;
  slots: readonly Memslot[] = [];
  /** The slot found last. */
  last: Memslot | null = null;
}

export class Memslots implements MemslotLookup {
  readonly sets: readonly MemslotSets[];
  readonly #decoded: readonly Decoded[];

  constructor(layout: VmLayout, memory: Memory) {
    this.sets = Array.from({ length: ADDRESS_SPACES }, (_, asId) => new MemslotSets(memory, layout, asId));
    this.#decoded = this.sets.map(() => new Decoded());
  }

  /** What the thread has decoded, to go with a copy of the arena. */
  saveState(): readonly DecodedSlots[] {
    return this.#decoded.map(({ active, slots, last }) => ({ active, slots, last }));
  }

  restoreState(state: readonly DecodedSlots[]): void {
    for (let asId = 0; asId < state.length; asId++) {
      const decoded = this.#decoded[asId];
      decoded.active = state[asId].active;
      decoded.slots = state[asId].slots;
      decoded.last = state[asId].last;
    }
  }

  *find(kvm: Kvm, asId: number, gfn: Gfn): Task<Memslot | null> {
    const decoded = this.#decoded[asId];
    const active = kvm.memory.load32(yield read(this.sets[asId].active));
    if (active !== decoded.active) this.#decode(asId, active);
    const { last } = decoded;
    if (last !== null && gfn >= last.baseGfn && gfn < last.baseGfn + last.npages) return last;
    return search(decoded, gfn);
  }

  *all(kvm: Kvm, asId: number): Task<readonly Memslot[]> {
    const decoded = this.#decoded[asId];
    const active = kvm.memory.load32(yield read(this.sets[asId].active));
    if (active !== decoded.active) this.#decode(asId, active);
    return decoded.slots;
  }

  *generation(_kvm: Kvm): Task<SlotGeneration> {
    return yield* this.sets[0].generation();
  }

  #decode(asId: number, active: number): void {
    const decoded = this.#decoded[asId];
    decoded.slots = this.sets[asId].decode(active);
    decoded.active = active;
    decoded.last = null;
  }
}

/** Binary search by gfn; remembers what it finds. */
function search(decoded: Decoded, gfn: Gfn): Memslot | null {
  const { slots } = decoded;
  let low = 0;
  let high = slots.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (gfn >= slots[middle].baseGfn + slots[middle].npages) low = middle + 1;
    else high = middle;
  }
  if (low === slots.length || gfn < slots[low].baseGfn) return null;
  decoded.last = slots[low];
  return decoded.last;
}

/** Whether {@link swapActiveMemslots} waits for the readers of the old set: only a fault put back on purpose does not. */
export type SwapWait = 'readers' | 'nobody';

/**
 * Publishes the set that was staged. The caller holds slots_lock and slots_arch_lock; the latter is released here, because
 * SRCU readers may take it.
 *
 * The swap waits until no invalidation is active: its end must find the slots that its start found. From then until all
 * readers of the old set are gone the generation is marked as in progress, so that no MMIO entry made by the old slots stays
 * valid; afterwards it moves on, for each address space by as many as there are.
 */
export function* swapActiveMemslots(kvm: Kvm, sets: MemslotSets, wait: SwapWait = 'readers'): Task<void> {
  const { thread, memory } = kvm;
  const next = sets.currentGeneration() + ADDRESS_SPACES;
  const flux = kvm.bugs['mmio-cached-while-slots-in-flux'] !== true;
  sets.setInactiveGeneration(flux ? { number: next - ADDRESS_SPACES, inProgress: true } : { number: next, inProgress: false });

  const active = kvm.word(KvmWord.mnActive);
  yield* spinLock(kvm.invalidateLock, thread, Site.kvm_swap_active_memslots);
  if (memory.load32(own(active)) !== 0) kvm.counters[VmCounter.memslot_swap_waits]++;
  while (memory.load32(own(active)) !== 0) {
    yield* spinUnlock(kvm.invalidateLock, thread);
    while (memory.load32(yield read(active)) !== 0) yield relax(active);
    yield* spinLock(kvm.invalidateLock, thread, Site.kvm_swap_active_memslots);
  }
  yield* sets.publish();
  yield* spinUnlock(kvm.invalidateLock, thread);
  yield* mutexUnlock(kvm.slotsArchLock, thread);

  if (wait === 'readers') yield* synchronizeSrcu(kvm.srcu, thread);
  yield* sets.setGeneration(next);
  yield* kvmMmuInvalidateMmioSptes(kvm, next, ADDRESS_SPACES);
  kvm.counters[VmCounter.memslot_swaps]++;
}
