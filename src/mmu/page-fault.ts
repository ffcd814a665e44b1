/**
 * A nested page fault from exit to entry (kernel: kvm_mmu_page_fault, kvm_tdp_mmu_page_fault, kvm_faultin_pfn,
 * is_page_fault_stale in arch/x86/kvm/mmu/mmu.c).
 */
import { Cost } from '../machine/cost.ts';
import { read, spend, type Task } from '../machine/point.ts';
import { srcuReadLock, srcuReadUnlock } from '../machine/srcu.ts';
import { MmuCounter } from './counters.ts';
import { fastPageFault } from './fast-page-fault.ts';
import { ENOMEM, kvmFaultinPfn, staleRange, topupMemoryCaches } from './faultin.ts';
import type { Kvm } from './kvm.ts';
import { type Gfn, PG_LEVEL_4K } from './level.ts';
import { kvmTdpMmuMap } from './map.ts';
import { handleMmioPageFault } from './mmio.ts';
import { mmuReadLock, mmuReadUnlock, mmuWriteLock, mmuWriteUnlock } from './mmu-lock.ts';
import { PageHeader, roleInvalid } from './mmu-page.ts';
import { type PageFault, PfErr, RetPf, RetryReason } from './page-fault-info.ts';
import { gfnIsWriteTracked } from './page-track.ts';
import { Site } from './site.ts';
import type { VcpuMmu } from './vcpu-mmu.ts';

/** How a fault ended for the vCPU's run loop: a {@link RetPf}, or a negative errno that KVM_RUN returns. */
export type FaultOutcome = number;

const RETRY_COUNTERS: readonly number[] = [
  -1,
  MmuCounter.retry_slot_invalid,
  MmuCounter.retry_unlocked,
  MmuCounter.retry_stale_root,
  MmuCounter.retry_stale_range,
  MmuCounter.retry_stale_seq,
  MmuCounter.retry_frozen,
  MmuCounter.retry_cmpxchg,
  MmuCounter.retry_lost_level,
];

/**
 * Handles an exit for a nested page fault.
 *
 * @param errorCode bits of {@link PfErr}
 * @returns how it ended; -EFAULT where the host has no page, -ENOMEM where it has no memory
 */
export function* kvmMmuPageFault(kvm: Kvm, vcpu: VcpuMmu, gfn: Gfn, errorCode: number): Task<FaultOutcome> {
  const { fault } = vcpu;
  fault.reset(gfn, errorCode, false, vcpu.asId, kvm.params.nxHugePages);
  kvm.trace?.pageFault(vcpu.vcpu, gfn, errorCode);
  const srcu = yield* srcuReadLock(kvm.srcu, kvm.thread);
  const result = yield* pageFaultUnderSrcu(kvm, vcpu, fault);
  yield* srcuReadUnlock(kvm.srcu, kvm.thread, srcu);
  return result;
}

function* pageFaultUnderSrcu(kvm: Kvm, vcpu: VcpuMmu, fault: PageFault): Task<FaultOutcome> {
  if (fault.reserved) {
    const mmio = yield* handleMmioPageFault(kvm, vcpu, fault);
    if (mmio !== RetPf.invalid) return mmio;
    fault.reserved = false;
    fault.errorCode &= ~PfErr.reserved;
  }
  const result = yield* kvmMmuDoPageFault(kvm, vcpu, fault);
  return result;
}

/** The fault with its statistics (kvm_mmu_do_page_fault). */
export function* kvmMmuDoPageFault(kvm: Kvm, vcpu: VcpuMmu, fault: PageFault): Task<FaultOutcome> {
  const { counters } = kvm;
  if (!fault.prefetch) counters[MmuCounter.pf_taken]++;
  yield spend(Cost.faultPath);
  fault.slot = yield* kvm.slots.find(kvm, fault.asId, fault.gfn);
  const result = yield* directPageFault(kvm, vcpu, fault);
  if (result < 0) {
    counters[MmuCounter.pf_error]++;
    kvm.trace?.pageFaultDone(vcpu.vcpu, fault.gfn, result);
    return result;
  }
  if (!fault.prefetch) {
    if (result === RetPf.fixed) counters[MmuCounter.pf_fixed]++;
    else if (result === RetPf.emulate) counters[MmuCounter.pf_emulate]++;
    else if (result === RetPf.spurious) counters[MmuCounter.pf_spurious]++;
    else if (result === RetPf.writeProtected) counters[MmuCounter.pf_write_protected]++;
  }
  if (result === RetPf.retry) counters[RETRY_COUNTERS[fault.retryReason]]++;
  kvm.trace?.pageFaultDone(vcpu.vcpu, fault.gfn, result);
  return result;
}

/** A fault of either MMU (direct_page_fault; kvm_tdp_mmu_page_fault since 5.19). The caller is in an SRCU section. */
function* directPageFault(kvm: Kvm, vcpu: VcpuMmu, fault: PageFault): Task<FaultOutcome> {
  if (fault.present && fault.write && (yield* gfnIsWriteTracked(kvm, fault.gfn))) {
    return kvm.generation.writeProtectedResult ? RetPf.writeProtected : RetPf.emulate;
  }
  const fast = yield* fastPageFault(kvm, vcpu, fault);
  if (fast !== RetPf.invalid) return fast;
  if (!(yield* topupMemoryCaches(kvm, vcpu))) return -ENOMEM;
  const found = yield* kvmFaultinPfn(kvm, vcpu, fault);
  if (found !== RetPf.continue) return found;

  const { backend } = kvm;
  if (backend === null) yield* mmuReadLock(kvm, Site.kvm_tdp_page_fault);
  else yield* mmuWriteLock(kvm, Site.direct_page_fault);
  const stale = yield* pageFaultStaleReason(kvm, vcpu, fault);
  let result: FaultOutcome = RetPf.retry;
  if (stale === RetryReason.none) {
    result = yield* backend === null ? kvmTdpMmuMap(kvm, vcpu, fault) : backend.map(kvm, vcpu, fault);
    kvm.trace?.mapped(result as RetPf);
  } else {
    fault.retryReason = stale;
  }
  if (backend === null) yield* mmuReadUnlock(kvm);
  else yield* mmuWriteUnlock(kvm);
  return result;
}

/** Whether what the fault looked up may be outdated (is_page_fault_stale). mmu_lock is held. */
function* pageFaultStaleReason(kvm: Kvm, vcpu: VcpuMmu, fault: PageFault): Task<RetryReason> {
  const { backend } = kvm;
  const obsolete =
    backend === null
      ? roleInvalid(kvm.memory.load32(yield read(kvm.pages.word(vcpu.root, PageHeader.role))))
      : yield* backend.isObsolete(kvm, vcpu.root);
  if (obsolete && kvm.bugs['fault-installs-into-invalidated-root'] !== true) return RetryReason.staleRoot;
  return yield* staleRange(kvm, fault);
}

/**
 * KVM_PRE_FAULT_MEMORY for one page: maps `gfn` as a read would, without marking it accessed (kvm_tdp_map_page). The caller
 * is in an SRCU section and leaves it between retries.
 */
export function* kvmTdpMapPage(kvm: Kvm, vcpu: VcpuMmu, gfn: Gfn): Task<FaultOutcome> {
  const { fault } = vcpu;
  fault.reset(gfn, 0, true, vcpu.asId, kvm.params.nxHugePages);
  const result = yield* kvmMmuDoPageFault(kvm, vcpu, fault);
  fault.goalLevel = result === RetPf.fixed || result === RetPf.spurious ? fault.goalLevel : PG_LEVEL_4K;
  return result;
}
