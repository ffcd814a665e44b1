/**
 * The primitive stores to an SPTE (kernel: kvm_tdp_mmu_read_spte, kvm_tdp_mmu_write_spte, tdp_mmu_clear_spte_bits in
 * tdp_iter.h). Bookkeeping is not theirs: see `set-spte.ts`.
 */
import { type Address, own, read, rmw, type Task, write } from '../machine/point.ts';
import { andNot64, type Word64 } from '../machine/word64.ts';
import { MmuCounter } from './counters.ts';
import type { Kvm } from './kvm.ts';
import type { Level } from './level.ts';
import { isShadowPresentLeaf, type Spte } from './spte.ts';

export function* readSpte(kvm: Kvm, sptep: Address): Task<Spte> {
  return kvm.memory.load64(yield read(sptep));
}

/** A plain store: for the holder of mmu_lock for write, the owner of a frozen SPTE, or a table not linked yet. */
export function* writeSptePlain(kvm: Kvm, sptep: Address, next: Spte): Task<void> {
  kvm.counters[MmuCounter.store_plain]++;
  kvm.memory.store64(yield write(sptep), next);
}

/** Whether the CPU or a fast page fault may change the leaf at any time, so that a plain store could lose that change. */
function needsAtomicUpdate(kvm: Kvm, spte: Spte, level: Level): boolean {
  if (kvm.bugs['nonatomic-write-loses-w-or-d'] === true || !kvm.generation.exchangeVolatile) return false;
  return isShadowPresentLeaf(spte, level) && kvm.spte.isVolatile(spte);
}

/** Stores under the write lock and returns what was there: the value read before may have changed if it is volatile. */
export function* writeSpte(kvm: Kvm, sptep: Address, old: Spte, next: Spte, level: Level): Task<Spte> {
  if (needsAtomicUpdate(kvm, old, level)) {
    kvm.counters[MmuCounter.xchg_volatile]++;
    return kvm.memory.xchg64(yield rmw(sptep), next);
  }
  yield* writeSptePlain(kvm, sptep, next);
  return old;
}

/** Clears the bits of `mask` under the write lock and returns what was there. */
export function* clearSpteBits(kvm: Kvm, sptep: Address, old: Spte, mask: Word64, level: Level): Task<Spte> {
  if (kvm.generation.clearBitsByFetchAnd && needsAtomicUpdate(kvm, old, level)) {
    kvm.counters[MmuCounter.xchg_volatile]++;
    return kvm.memory.and64(yield rmw(sptep), andNot64({ lo: -1, hi: -1 } as Word64, mask));
  }
  return yield* writeSpte(kvm, sptep, old, andNot64(old, mask), level);
}

/** Stores into a table that nobody else can reach. */
export function storePrivateSpte(kvm: Kvm, sptep: Address, spte: Spte): void {
  kvm.memory.store64(own(sptep), spte);
}
