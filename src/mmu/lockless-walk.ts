/**
 * Walking page tables without mmu_lock (kernel: walk_shadow_page_lockless_begin and _end in arch/x86/kvm/mmu/mmu.c).
 *
 * Tables of the TDP MMU are freed after an RCU grace period. Those of the rmap-based MMU are freed after a flush of all
 * vCPUs, which waits for a vCPU whose mode says that it reads them: on hardware with interrupts off, so it is short.
 */
import type { Task } from '../machine/point.ts';
import { rcuReadLock, rcuReadUnlock } from '../machine/rcu.ts';
import { beginLocklessWalk, endLocklessWalk } from '../machine/tlb-shootdown.ts';
import type { Kvm } from './kvm.ts';
import type { VcpuMmu } from './vcpu-mmu.ts';

/** From here to {@link locklessWalkEnd} no table that the vCPU can reach is freed. The vCPU is outside the guest. */
export function* locklessWalkBegin(kvm: Kvm, vcpu: VcpuMmu): Task<void> {
  if (kvm.bugs['lockless-walk-without-rcu'] === true) return;
  if (kvm.backend === null) yield* rcuReadLock(kvm.rcu, kvm.thread);
  else yield* beginLocklessWalk(kvm.requests, kvm.thread, vcpu.vcpu);
}

export function* locklessWalkEnd(kvm: Kvm, vcpu: VcpuMmu): Task<void> {
  if (kvm.bugs['lockless-walk-without-rcu'] === true) return;
  if (kvm.backend === null) yield* rcuReadUnlock(kvm.rcu, kvm.thread);
  else yield* endLocklessWalk(kvm.requests, kvm.thread, vcpu.vcpu);
}
