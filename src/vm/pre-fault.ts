/**
 * KVM_PRE_FAULT_MEMORY (kernel: kvm_vcpu_pre_fault_memory in virt/kvm/kvm_main.c, kvm_arch_vcpu_pre_fault_memory in
 * arch/x86/kvm/mmu/mmu.c): maps gfns before the guest touches them.
 */
import type { Task } from '../machine/point.ts';
import { srcuReadLock, srcuReadUnlock } from '../machine/srcu.ts';
import { Request, takeRequest } from '../machine/tlb-shootdown.ts';
import { asGfn, type Gfn } from '../mmu/level.ts';
import { SlotFlag } from '../mmu/memslot.ts';
import { kvmTdpMapPage } from '../mmu/page-fault.ts';
import { RetPf } from '../mmu/page-fault-info.ts';
import { kvmMmuFreeObsoleteRoots, kvmMmuReload } from '../mmu/root-load.ts';
import { awaitRetryCause } from './await-retry.ts';
import { Errno } from './errno.ts';
import type { Vcpu } from './vcpu.ts';

export interface PreFault {
  /** 0 or a negative errno: EINVAL (the kernel has no such ioctl), ENOENT (no memory there), EFAULT, ENOMEM. */
  readonly result: number;
  /** Pages mapped, from the first on. */
  readonly done: number;
}

/** Maps `pages` pages from `gfn` on for the vCPU's root, which it loads if need be. */
export function* preFaultMemory(vcpu: Vcpu, gfn: Gfn, pages: number): Task<PreFault> {
  const { kvm } = vcpu;
  if (!kvm.generation.preFault) return { result: -Errno.EINVAL, done: 0 };
  const srcu = yield* srcuReadLock(kvm.srcu, kvm.thread);
  let done = 0;
  let result = 0;
  while (done < pages) {
    const at = asGfn(gfn + done);
    const mapped = yield* preFaultPage(vcpu, at);
    if (mapped < 0) {
      result = mapped;
      break;
    }
    // What was mapped may reach beyond the page, and beyond the end.
    const end = kvm.geometry.round(at, mapped) + kvm.geometry.span(mapped);
    done += Math.min(pages - done, end - at);
  }
  yield* srcuReadUnlock(kvm.srcu, kvm.thread, srcu);
  // Part of the work counts as success, as with read().
  return { result: done > 0 ? 0 : result, done };
}

/** The level at which the page is mapped now, or a negative errno. */
function* preFaultPage(vcpu: Vcpu, gfn: Gfn): Task<number> {
  const { kvm, mmu } = vcpu;
  for (;;) {
    // A root that was made obsolete since the vCPU ran would send every fault back.
    const obsolete = yield* takeRequest(vcpu.requests, vcpu.thread, vcpu.id, Request.freeObsoleteRoots);
    if (obsolete) yield* kvmMmuFreeObsoleteRoots(kvm, mmu);
    if (!(yield* kvmMmuReload(kvm, mmu))) return -Errno.ENOMEM;
    const outcome = yield* kvmTdpMapPage(kvm, mmu, gfn);
    if (outcome < 0) return outcome;
    if (outcome === RetPf.fixed || outcome === RetPf.spurious || outcome === RetPf.writeProtected) return mmu.fault.goalLevel;
    if (outcome === RetPf.emulate) return -Errno.ENOENT;
    // An invalid slot stays until all SRCU sections end, ours included: user space must come again (KVM: 6.18).
    const { slot } = mmu.fault;
    const goes = slot !== null && (slot.flags & SlotFlag.invalid) !== 0;
    if (goes && kvm.bugs['prefault-deadlock-with-memslot-delete'] !== true) return -Errno.EAGAIN;
    if (vcpu.awaitRetries) yield* awaitRetryCause(kvm, mmu);
  }
}
