/**
 * Zapping everything, or everything of a slot (kernel: kvm_mmu_zap_all_fast, kvm_mmu_zap_all, kvm_mmu_zap_memslot,
 * kvm_mmu_uninit_tdp_mmu in mmu.c and tdp_mmu.c).
 */
import { assertMutexHeld } from '../machine/mutex.ts';
import { read, type Task, write } from '../machine/point.ts';
import { makeAllVcpusRequest, Request } from '../machine/tlb-shootdown.ts';
import { kvmFlushRemoteTlbs } from './flush.ts';
import { unmapGfnRange } from './gfn-range.ts';
import { type Kvm, KvmWord } from './kvm.ts';
import { type Memslot, slotEnd } from './memslot.ts';
import { mmuWriteLock, mmuWriteUnlock } from './mmu-lock.ts';
import { Site } from './site.ts';
import { kvmTdpMmuInvalidateAllRoots, kvmTdpMmuZapAll, kvmTdpMmuZapInvalidatedRoots } from './zap-root.ts';

/**
 * Makes all current roots obsolete at once and zaps them afterwards, with vCPUs already running on new ones. The caller
 * holds slots_lock, so that the reference given to the zapper is put once.
 */
export function* kvmMmuZapAllFast(kvm: Kvm): Task<void> {
  assertMutexHeld(kvm.slotsLock, kvm.thread);
  if (kvm.backend !== null) {
    yield* kvm.backend.zapAllFast(kvm);
    return;
  }
  yield* mmuWriteLock(kvm, Site.kvm_mmu_zap_all_fast);
  kvm.trace?.operation('kvm_mmu_zap_all_fast');
  const generation = kvm.word(KvmWord.validGen);
  const toggled = 1 - kvm.memory.load32(yield read(generation));
  kvm.memory.store32(yield write(generation), toggled);
  kvm.trace?.operation('inval_roots');
  yield* kvmTdpMmuInvalidateAllRoots(kvm);
  // In the same hold of mmu_lock, and waiting for vCPUs in the guest: nobody may run on, or fault into, an invalid root.
  yield* makeAllVcpusRequest(kvm.requests, kvm.thread, Request.freeObsoleteRoots, { wait: true });
  yield* mmuWriteUnlock(kvm);
  yield* kvmTdpMmuZapInvalidatedRoots(kvm, true);
}

/** Zaps everything because the process's address space goes away. */
export function* kvmMmuZapAll(kvm: Kvm): Task<void> {
  if (kvm.backend !== null) {
    yield* kvm.backend.zapAll(kvm);
    return;
  }
  yield* mmuWriteLock(kvm, Site.kvm_mmu_zap_all);
  kvm.trace?.operation('zap_all');
  yield* kvmTdpMmuZapAll(kvm);
  yield* mmuWriteUnlock(kvm);
}

/** Zaps only the leaves of the slot that goes away (KVM_X86_QUIRK_SLOT_ZAP_ALL off). */
export function* kvmMmuZapMemslot(kvm: Kvm, slot: Memslot): Task<void> {
  yield* mmuWriteLock(kvm, Site.kvm_mmu_zap_all_fast);
  const flush = yield* unmapGfnRange(kvm, slot, slot.baseGfn, slotEnd(slot), false, true);
  if (flush) yield* kvmFlushRemoteTlbs(kvm);
  yield* mmuWriteUnlock(kvm);
}

/** The end of the MMU: no vCPU is left; what is left of the roots goes (kvm_mmu_uninit_tdp_mmu). */
export function* kvmMmuUninitTdpMmu(kvm: Kvm): Task<void> {
  if (kvm.backend !== null) return;
  const { lockedTeardown } = kvm.generation;
  if (lockedTeardown) yield* mmuWriteLock(kvm, Site.kvm_destroy_vm);
  yield* kvmTdpMmuInvalidateAllRoots(kvm);
  if (lockedTeardown) yield* mmuWriteUnlock(kvm);
  yield* kvmTdpMmuZapInvalidatedRoots(kvm, true);
}
