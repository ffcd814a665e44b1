/** Finding memslots (kernel: gfn_to_memslot and for_each_memslot). The VM layer implements it over its published sets. */
import type { Task } from '../machine/point.ts';
import type { Kvm } from './kvm.ts';
import type { Gfn } from './level.ts';
import type { Memslot } from './memslot.ts';

/** A memslot generation, with the in-progress flag (bit 63 of the kernel's) apart. */
export interface SlotGeneration {
  readonly number: number;
  readonly inProgress: boolean;
}

export interface MemslotLookup {
  /** The slot of address space `asId` that holds `gfn`, or null. The caller is in an SRCU section or holds slots_lock. */
  find(kvm: Kvm, asId: number, gfn: Gfn): Task<Memslot | null>;
  /** All slots of address space `asId`, in order of their gfns. The caller is in an SRCU section or holds slots_lock. */
  all(kvm: Kvm, asId: number): Task<readonly Memslot[]>;
  /** Memslot generation for MMIO SPTEs. */
  generation(kvm: Kvm): Task<SlotGeneration>;
}
