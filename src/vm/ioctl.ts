/**
 * What user space does to a VM: the ioctls and module parameters of scripts and workloads, by their names.
 *
 * A VMM's system calls on host memory are in `host-vma.ts` and `host-operations.ts`, a vCPU's in `vcpu-run.ts`.
 */
import { mutexLock, mutexUnlock } from '../machine/mutex.ts';
import type { Task } from '../machine/point.ts';
import { rcuBarrier } from '../machine/rcu.ts';
import type { ParamName } from '../mmu/params.ts';
import { Site } from '../mmu/site.ts';
import { kvmMmuUninitTdpMmu, kvmMmuZapAll, kvmMmuZapAllFast } from '../mmu/zap-all.ts';
import { freeDirtyBitmap } from './dirty-bitmap.ts';
import { Errno } from './errno.ts';
import { setUserMemoryRegion } from './set-memory-region.ts';
import { freeSlotRmaps } from './slot-rmaps.ts';
import type { Vm } from './vm.ts';

export { type ClearDirtyLog, clearDirtyLog, type DirtyLog, type DirtyLogSlot, getDirtyLog } from './dirty-log.ts';
export { setUserMemoryRegion, type UserMemoryRegion } from './set-memory-region.ts';

/** Which memslot. */
export interface SlotName {
  readonly slot: number;
  readonly asId?: number;
}

/** KVM_SET_USER_MEMORY_REGION with other flags and all else as it is. */
export function* setMemslotFlags(vm: Vm, { slot, asId = 0 }: SlotName, flags: number): Task<number> {
  const found = (yield* vm.slots.all(vm.kvm, asId)).find(({ id }) => id === slot);
  if (found === undefined) return -Errno.EINVAL;
  const { baseGfn, npages: pages, region, regionPage } = found;
  return yield* setUserMemoryRegion(vm, { slot, asId, flags, baseGfn, pages, region, regionPage });
}

/** KVM_SET_USER_MEMORY_REGION with another gfn and all else as it is. */
export function* moveMemslot(vm: Vm, { slot, asId = 0 }: SlotName, baseGfn: number): Task<number> {
  const found = (yield* vm.slots.all(vm.kvm, asId)).find(({ id }) => id === slot);
  if (found === undefined) return -Errno.EINVAL;
  const { flags, npages: pages, region, regionPage } = found;
  return yield* setUserMemoryRegion(vm, { slot, asId, flags, baseGfn, pages, region, regionPage });
}

/** KVM_SET_USER_MEMORY_REGION of no size. */
export function* deleteMemslot(vm: Vm, { slot, asId }: SlotName): Task<number> {
  return yield* setUserMemoryRegion(vm, { slot, asId, baseGfn: 0, pages: 0, region: 0 });
}

/** KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2: 0, 1 (manual protection) or 3 (and all pages dirty at first). */
export function* enableManualDirtyLogProtect(vm: Vm, value: number): Task<number> {
  if (value !== 0 && value !== 1 && value !== 3) return -Errno.EINVAL;
  yield* setParameter(vm, 'manualProtect', value);
  return 0;
}

/**
 * Writes a module parameter, or a capability that may change while the VM runs. Writing nx_huge_pages makes all roots
 * obsolete, because it changes what may be mapped (set_nx_huge_pages).
 */
export function* setParameter(vm: Vm, name: ParamName, value: number): Task<void> {
  const { kvm } = vm;
  const site = name === 'nxHugePages' ? Site.set_nx_huge_pages : Site.user;
  yield* mutexLock(kvm.slotsLock, kvm.thread, site);
  const old = kvm.params.get(name);
  kvm.params.set(name, value);
  if (name === 'nxHugePages' && old !== value) yield* kvmMmuZapAllFast(kvm);
  yield* mutexUnlock(kvm.slotsLock, kvm.thread);
}

/**
 * The last reference to the VM is gone (kvm_destroy_vm): zaps everything, lets `freeVcpus` give up the vCPUs with their
 * roots, zaps what is left of the roots, and frees the memslots. No guest runs any more.
 */
export function* destroyVm(vm: Vm, freeVcpus: () => Task<void>): Task<void> {
  const { kvm } = vm;
  yield* kvmMmuZapAll(kvm);
  yield* freeVcpus();
  yield* mutexLock(kvm.slotsLock, kvm.thread, Site.kvm_destroy_vm);
  yield* kvmMmuUninitTdpMmu(kvm);
  for (const sets of vm.slots.sets) {
    for (const slot of yield* vm.slots.all(kvm, sets.asId)) {
      if (slot.dirtyBitmap !== 0) yield* freeDirtyBitmap(vm, slot);
      if (slot.rmaps !== undefined) yield* freeSlotRmaps(vm, slot);
    }
    sets.stage([]);
    yield* sets.publish();
  }
  yield* mutexUnlock(kvm.slotsLock, kvm.thread);
  yield* rcuBarrier(kvm.rcu, kvm.allocator, kvm.thread);
}
