/**
 * Looking up what a fault maps, before mmu_lock is taken, and testing under it whether that still holds (kernel:
 * mmu_topup_memory_caches, kvm_faultin_pfn, mmu_invalidate_retry_gfn).
 */
import { topupPageCache } from '../machine/page-cache.ts';
import type { Task } from '../machine/point.ts';
import { rcuProcessCallbacks } from '../machine/rcu.ts';
import { FaultinResult } from './host.ts';
import { InvalidateRetry, mmuInvalidateRetryGfn, mmuInvalidateRetryGfnUnsafe, mmuInvalidateSeq } from './invalidate.ts';
import type { Kvm } from './kvm.ts';
import { NOSLOT_PFN } from './map.ts';
import { SlotFlag } from './memslot.ts';
import { vcpuCacheMmioInfo } from './mmio.ts';
import { type PageFault, RetPf, RetryReason } from './page-fault-info.ts';
import type { VcpuMmu } from './vcpu-mmu.ts';

/** errnos that end KVM_RUN, as negative results. */
export const EFAULT = 14;
export const ENOMEM = 12;

/** Pages that a fault may need: one a level, and one to spare (mmu_topup_memory_caches). */
function pagesPerFault(kvm: Kvm): number {
  return kvm.geometry.rootLevel + 1;
}

/** Fills the vCPU's cache before any lock is taken. May sleep. Returns false where memory has run out. */
export function* topupMemoryCaches(kvm: Kvm, vcpu: VcpuMmu): Task<boolean> {
  const wanted = pagesPerFault(kvm);
  if (vcpu.pageCache.pages.length >= wanted) return true;
  if (yield* topupPageCache(vcpu.pageCache, kvm.allocator, kvm.thread, wanted)) return true;
  // Pages that only wait for a grace period are memory, too.
  yield* rcuProcessCallbacks(kvm.rcu, kvm.allocator, kvm.thread);
  return yield* topupPageCache(vcpu.pageCache, kvm.allocator, kvm.thread, wanted);
}

/** Looks the PFN up in the host; notes the invalidation sequence first, so that one that comes between is seen later. */
export function* kvmFaultinPfn(kvm: Kvm, vcpu: VcpuMmu, fault: PageFault): Task<number> {
  const { slot } = fault;
  fault.mmuSeq = yield* mmuInvalidateSeq(kvm);
  if (slot === null) {
    yield* vcpuCacheMmioInfo(kvm, vcpu, fault.gfn);
    fault.pfn = NOSLOT_PFN;
    fault.mapWritable = false;
    return kvm.params.get('mmioCaching') !== 0 ? RetPf.continue : RetPf.emulate;
  }
  if ((slot.flags & SlotFlag.invalid) !== 0 && kvm.bugs['fault-uses-invalid-memslot'] !== true) {
    fault.retryReason = RetryReason.slotInvalid;
    return RetPf.retry;
  }
  if (yield* unlockedRetry(kvm, fault)) return RetPf.retry;
  if (fault.write && (slot.flags & SlotFlag.readonly) !== 0) return RetPf.emulate;
  if ((yield* kvm.host.faultin(kvm, fault)) === FaultinResult.error) return -EFAULT;
  if ((slot.flags & SlotFlag.readonly) !== 0) fault.mapWritable = false;
  if (yield* unlockedRetry(kvm, fault)) return RetPf.retry;
  return RetPf.continue;
}

/** The test without the lock: an invalidation of the gfn is under way, so queueing for mmu_lock would only disturb it. */
function* unlockedRetry(kvm: Kvm, fault: PageFault): Task<boolean> {
  if (!kvm.generation.unlockedRetryTest || kvm.bugs['fault-contends-lock-during-invalidate'] === true) return false;
  if (!(yield* mmuInvalidateRetryGfnUnsafe(kvm, fault.mmuSeq, fault.gfn))) return false;
  fault.retryReason = RetryReason.unlockedInvalidate;
  return true;
}

/** Whether the gfn is being, or was, invalidated since its PFN was looked up. mmu_lock is held. */
export function* staleRange(kvm: Kvm, fault: PageFault): Task<RetryReason> {
  if (fault.slot === null) return RetryReason.none;
  const retry = yield* mmuInvalidateRetryGfn(kvm, fault.mmuSeq, fault.gfn);
  if (retry === InvalidateRetry.no) return RetryReason.none;
  return retry === InvalidateRetry.inRange ? RetryReason.staleRange : RetryReason.staleSeq;
}
