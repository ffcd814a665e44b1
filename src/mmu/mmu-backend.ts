/**
 * The operations that another MMU can take over from the TDP MMU: the rmap-based one that it replaced does.
 *
 * A `Kvm` without a backend runs the TDP MMU. The entry points of the operations ask for the backend first, so callers in the
 * VM layer never need to know which MMU serves them.
 */
import type { Task } from '../machine/point.ts';
import type { Word64 } from '../machine/word64.ts';
import type { Kvm } from './kvm.ts';
import type { Gfn, Level, Pfn } from './level.ts';
import type { Memslot } from './memslot.ts';
import type { PageFault } from './page-fault-info.ts';
import type { VcpuMmu } from './vcpu-mmu.ts';

export interface MmuBackend {
  /** Maps what a fault has looked up; mmu_lock is held for write. The result is a `RetPf` or a negative errno. */
  map(kvm: Kvm, vcpu: VcpuMmu, fault: PageFault): Task<number>;
  /** Finds or makes the root for `role`; the vCPU owns a reference. */
  allocRoot(kvm: Kvm, vcpu: VcpuMmu, role: number): Task<number>;
  isObsolete(kvm: Kvm, root: number): Task<boolean>;
  freeRoots(kvm: Kvm, roots: readonly number[]): Task<void>;
  /** mmu_lock is held; returns whether a flush is owed. */
  unmapGfnRange(kvm: Kvm, slot: Memslot, start: Gfn, end: Gfn, flush: boolean, mayBlock: boolean): Task<boolean>;
  ageGfnRange(kvm: Kvm, slot: Memslot, start: Gfn, end: Gfn): Task<boolean>;
  testAgeGfnRange(kvm: Kvm, slot: Memslot, start: Gfn, end: Gfn): Task<boolean>;
  /** change_pte: as above. */
  setSpteGfn(kvm: Kvm, slot: Memslot, gfn: Gfn, pfn: Pfn, writable: boolean): Task<boolean>;
  /** In all address spaces: as above. */
  zapGfnRange(kvm: Kvm, start: Gfn, end: Gfn): Task<boolean>;
  /** The operations on slots take mmu_lock themselves. */
  slotRemoveWriteAccess(kvm: Kvm, slot: Memslot, minLevel: Level): Task<boolean>;
  slotLeafClearDirty(kvm: Kvm, slot: Memslot): Task<boolean>;
  slotZapCollapsible(kvm: Kvm, slot: Memslot): Task<void>;
  /** mmu_lock is held. */
  enableLogDirtyPtMasked(kvm: Kvm, slot: Memslot, offset: number, mask: Word64): Task<void>;
  writeProtectGfn(kvm: Kvm, slot: Memslot, gfn: Gfn, minLevel: Level): Task<boolean>;
  /** slots_lock is held. */
  zapAllFast(kvm: Kvm): Task<void>;
  zapAll(kvm: Kvm): Task<void>;
  /** One period of the recovery thread: how many tables it zapped. */
  recoverNxHugePages(kvm: Kvm): Task<number>;
}
