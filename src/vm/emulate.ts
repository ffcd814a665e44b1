/**
 * Emulated guest accesses (kernel: x86_emulate_instruction, emulator_read_write_onepage, kvm_vcpu_write_guest_page).
 *
 * Where no memslot holds the gfn, or a read-only one is written, user space emulates the device (KVM_EXIT_MMIO). Where KVM
 * itself keeps a page write-protected, it writes the page in the guest's stead, by its address in user space. The caller's
 * fault is over: its `PageFault` is used again here.
 */
import { Cost } from '../machine/cost.ts';
import { spend, type Task } from '../machine/point.ts';
import { srcuReadLock, srcuReadUnlock } from '../machine/srcu.ts';
import { FaultinResult } from '../mmu/host.ts';
import { InvalidateRetry, mmuInvalidateRetryGfn, mmuInvalidateSeq } from '../mmu/invalidate.ts';
import type { Gfn } from '../mmu/level.ts';
import { markPageDirtyInSlot } from '../mmu/mark-dirty.ts';
import { SlotFlag } from '../mmu/memslot.ts';
import { mmuReadLock, mmuReadUnlock } from '../mmu/mmu-lock.ts';
import { PfErr } from '../mmu/page-fault-info.ts';
import { Site } from '../mmu/site.ts';
import { awaitInvalidation } from './await-retry.ts';
import { accessFrame } from './guest-memory.ts';
import { AccessKind } from './page-walker.ts';
import { GuestResult, type Vcpu } from './vcpu.ts';
import { VcpuCounter } from './vcpu-counters.ts';

/**
 * Emulates the instruction whose access to `gfn` faulted. Returns how the access ended, or null where the guest shall try
 * again, because the slot is being changed.
 */
export function* emulateAccess(vcpu: Vcpu, gfn: Gfn, kind: AccessKind): Task<GuestResult | null> {
  const { kvm, counters } = vcpu;
  yield spend(Cost.emulate);
  const index = yield* srcuReadLock(kvm.srcu, kvm.thread);
  const result = yield* emulateUnderSrcu(vcpu, gfn, kind);
  yield* srcuReadUnlock(kvm.srcu, kvm.thread, index);
  if (result === null) return null;
  counters[VcpuCounter.insn_emulation]++;
  if (result === GuestResult.mmio) {
    counters[VcpuCounter.mmio_exits]++;
    kvm.trace?.mmio(vcpu.id, gfn, kind === AccessKind.write);
    yield spend(Cost.syscall);
  }
  return result;
}

function* emulateUnderSrcu(vcpu: Vcpu, gfn: Gfn, kind: AccessKind): Task<GuestResult | null> {
  const { kvm, mmu } = vcpu;
  const slot = yield* kvm.slots.find(kvm, mmu.asId, gfn);
  // Code that is no memory cannot even be decoded (KVM_INTERNAL_ERROR_EMULATION).
  if (slot === null) return kind === AccessKind.exec ? GuestResult.fault : GuestResult.mmio;
  if ((slot.flags & SlotFlag.invalid) !== 0) return null;
  if (kind === AccessKind.exec) return null;
  const write = kind === AccessKind.write;
  if (write && (slot.flags & SlotFlag.readonly) !== 0) return GuestResult.mmio;

  const { fault } = mmu;
  for (;;) {
    fault.reset(gfn, write ? PfErr.write : 0, false, mmu.asId, false);
    fault.slot = slot;
    fault.mmuSeq = yield* mmuInvalidateSeq(kvm);
    if ((yield* kvm.host.faultin(kvm, fault)) === FaultinResult.error) return GuestResult.fault;
    // The kernel's copy goes through the host's page table, which keeps the page; here mmu_lock does, as for a mapping.
    yield* mmuReadLock(kvm, Site.kvm_tdp_page_fault);
    const stale = (yield* mmuInvalidateRetryGfn(kvm, fault.mmuSeq, gfn)) !== InvalidateRetry.no;
    if (!stale) yield* accessFrame(vcpu, fault.pfn, gfn, kind);
    yield* mmuReadUnlock(kvm);
    if (stale) {
      if (vcpu.awaitRetries) yield* awaitInvalidation(kvm, gfn);
      continue;
    }
    if (write) yield* markPageDirtyInSlot(kvm, slot, gfn);
    return GuestResult.done;
  }
}
