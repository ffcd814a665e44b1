/**
 * Waiting before a fault is tried again. Real vCPUs fault again at once, and again, until what stood in their way is gone; where
 * every interleaving is to be tried, that would never end. So there a fault waits until somebody wrote the word that it
 * stumbled over: nothing else could have changed its fate.
 */
import { type Address, own, read, relax, type Task } from '../machine/point.ts';
import { rcuReadLock, rcuReadUnlock } from '../machine/rcu.ts';
import { type Kvm, KvmWord } from '../mmu/kvm.ts';
import type { Gfn } from '../mmu/level.ts';
import { RetryReason } from '../mmu/page-fault-info.ts';
import { isTableLo, tablePageLo } from '../mmu/spte.ts';
import type { VcpuMmu } from '../mmu/vcpu-mmu.ts';
import type { Memslots } from './memslots.ts';

/** Waits for the word that made the vCPU's last fault end with a retry; returns at once where there is none. */
export function* awaitRetryCause(kvm: Kvm, mmu: VcpuMmu): Task<void> {
  const { fault, iter } = mmu;
  switch (fault.retryReason) {
    case RetryReason.slotInvalid:
      yield relax(activeSlotsWord(kvm, mmu.asId));
      return;
    case RetryReason.unlockedInvalidate:
    case RetryReason.staleRange:
      yield* awaitInvalidation(kvm, fault.gfn);
      return;
    case RetryReason.frozen:
      // In a table that was taken out of the tree entries stay frozen for good; the next try goes another way.
      if (yield* isOnPath(kvm, mmu, iter.sptep)) yield relax(iter.sptep);
      return;
    default:
  }
}

/** Whether the walk for the fault's gfn still comes by the SPTE at `sptep`. */
function* isOnPath(kvm: Kvm, mmu: VcpuMmu, sptep: Address): Task<boolean> {
  // The tables on the way may be removed meanwhile.
  yield* rcuReadLock(kvm.rcu, kvm.thread);
  const found = yield* findOnPath(kvm, mmu, sptep);
  yield* rcuReadUnlock(kvm.rcu, kvm.thread);
  return found;
}

function* findOnPath(kvm: Kvm, { root, fault }: VcpuMmu, sptep: Address): Task<boolean> {
  const { geometry, memory, pages } = kvm;
  let page = root;
  for (let level = geometry.rootLevel; ; level--) {
    const at = pages.sptep(page, geometry.index(fault.gfn, level));
    if (at === sptep) return true;
    const { lo } = memory.load64(yield read(at));
    if (!isTableLo(lo, level)) return false;
    page = tablePageLo(lo);
  }
}

/** Waits for an invalidation of `gfn` to end, if one is open: where one has ended already, the next try will do. */
export function* awaitInvalidation(kvm: Kvm, gfn: Gfn): Task<void> {
  const { memory } = kvm;
  const word = kvm.word(KvmWord.invalidateInProgress);
  if (memory.load32(yield read(word)) === 0) return;
  const bound = (index: number): number => {
    const { lo, hi } = memory.load64(own(kvm.word(index)));
    return hi * 2 ** 32 + (lo >>> 0);
  };
  if (gfn >= bound(KvmWord.invalidateStart) && gfn < bound(KvmWord.invalidateEnd)) yield relax(word);
}

/** The word that is written when the memslots of an address space change. */
export function activeSlotsWord(kvm: Kvm, asId: number): Address {
  return (kvm.slots as Memslots).sets[asId].active;
}
