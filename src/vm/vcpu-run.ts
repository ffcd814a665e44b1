/**
 * The run loop of a vCPU: into the guest, out of it, and what happens in between (kernel: vcpu_run and vcpu_enter_guest in
 * arch/x86/kvm/x86.c, with handle_exit's nested page faults).
 */
import { Cost } from '../machine/cost.ts';
import { own, read, spend, type Task } from '../machine/point.ts';
import { enterGuest, leaveGuest, Request, takeRequests } from '../machine/tlb-shootdown.ts';
import { ENOMEM } from '../mmu/faultin.ts';
import { KvmWord } from '../mmu/kvm.ts';
import type { Gfn } from '../mmu/level.ts';
import { kvmMmuPageFault } from '../mmu/page-fault.ts';
import { RetPf } from '../mmu/page-fault-info.ts';
import { kvmMmuFreeObsoleteRoots, kvmMmuReload, kvmMmuUnload } from '../mmu/root-load.ts';
import { awaitRetryCause } from './await-retry.ts';
import { emulateAccess } from './emulate.ts';
import type { AccessKind } from './page-walker.ts';
import { flushPmlBuffer } from './pml.ts';
import { GuestResult, type Vcpu } from './vcpu.ts';
import { VcpuCounter } from './vcpu-counters.ts';
import { VcpuWord } from './vcpu-layout.ts';

const bit = (request: Request): number => 1 << request;
const TLB_FLUSH = bit(Request.tlbFlush);
const TLB_FLUSH_RANGE = bit(Request.tlbFlushRange);
const FREE_OBSOLETE_ROOTS = bit(Request.freeObsoleteRoots);
const VM_DEAD = bit(Request.vmDead);

/**
 * Enters the guest, after all that was requested; whatever is requested meanwhile turns the vCPU round at the door. Returns
 * `done` with the vCPU in the guest, or why it is not.
 */
export function* vcpuEnterGuest(vcpu: Vcpu): Task<GuestResult> {
  const { kvm, thread, requests, id } = vcpu;
  do {
    const pending = yield* takeRequests(requests, thread, id);
    if (pending !== 0) {
      if ((pending & VM_DEAD) !== 0) return GuestResult.dead;
      if ((pending & FREE_OBSOLETE_ROOTS) !== 0) yield* kvmMmuFreeObsoleteRoots(kvm, vcpu.mmu);
      if ((pending & TLB_FLUSH) !== 0) yield* serveTlbFlush(vcpu);
      else if ((pending & TLB_FLUSH_RANGE) !== 0) serveRangeFlush(vcpu);
    }
    if (vcpu.resetFlush) {
      vcpu.resetFlush = false;
      yield* serveTlbFlush(vcpu);
    }
    if (vcpu.dirtyRing !== null && (yield* vcpu.dirtyRing.softFull(id))) {
      vcpu.counters[VcpuCounter.dirty_ring_exits]++;
      if (!(yield* vcpu.dirtyRing.exitToUser(id))) return GuestResult.dirtyRingFull;
      continue;
    }
    if (!(yield* kvmMmuReload(kvm, vcpu.mmu))) return GuestResult.noMemory;
    // Logging is switched on and off by those who then make all vCPUs leave the guest, and so come by here.
    if (kvm.params.pml) {
      const logging = kvm.memory.load32(yield read(kvm.word(KvmWord.dirtyLogging))) !== 0;
      // The processor does not log for a nested guest: its addresses are not ours. Its pages are write-protected instead.
      vcpu.walker.pmlEnabled = logging && !vcpu.mmu.guestMode;
    }
    yield spend(Cost.vmEnter);
    vcpu.inGuest = yield* enterGuest(requests, thread, id);
  } while (!vcpu.inGuest);
  vcpu.counters[VcpuCounter.entries]++;
  vcpu.mustFetch = vcpu.codeGfn !== null;
  if (vcpu.flushOnEntry) vcpu.flushTlb();
  return GuestResult.done;
}

function* serveTlbFlush(vcpu: Vcpu): Task<void> {
  yield spend(Cost.tlbFlush);
  vcpu.flushTlb();
  vcpu.counters[VcpuCounter.tlb_flush]++;
}

/** Flushes the range that was asked for last. */
function serveRangeFlush({ kvm, tlb, pwc }: Vcpu): void {
  const bound = (index: number): number => kvm.memory.load32(own(kvm.word(index)));
  tlb.flushRange(bound(KvmWord.flushStart), bound(KvmWord.flushEnd));
  pwc.flushRange(bound(KvmWord.flushStart), bound(KvmWord.flushEnd));
}

/** Leaves the guest, counts the exit and empties the page-modification log. */
export function* vcpuLeaveGuest(vcpu: Vcpu): Task<void> {
  const { memory, area } = vcpu;
  vcpu.inGuest = false;
  vcpu.counters[VcpuCounter.exits]++;
  const word = own(area.word(VcpuWord.exits));
  memory.store32(word, memory.load32(word) + 1);
  yield spend(Cost.vmExit);
  yield* leaveGuest(vcpu.requests, vcpu.thread, vcpu.id);
  if (vcpu.walker.pmlEnabled) yield* flushPmlBuffer(vcpu.kvm, vcpu.pml, vcpu.mmu.asId);
}

/** Leaves the guest because it was kicked. */
export function* vcpuInterrupted(vcpu: Vcpu): Task<void> {
  vcpu.counters[VcpuCounter.interrupt_exits]++;
  yield* vcpuLeaveGuest(vcpu);
}

/**
 * Handles a nested page fault of the guest's access to `gfn`: leaves the guest for it. Returns null where the guest shall try
 * again, or how the access ended.
 */
export function* vcpuHandleFault(vcpu: Vcpu, gfn: Gfn, kind: AccessKind, errorCode: number): Task<GuestResult | null> {
  const { memory, area } = vcpu;
  memory.store32(own(area.word(VcpuWord.faultGfn)), gfn | 0);
  memory.store32(own(area.word(VcpuWord.faultGfn + 1)), Math.floor(gfn / 2 ** 32));
  vcpu.counters[VcpuCounter.fault_exits]++;
  yield* vcpuLeaveGuest(vcpu);
  const outcome = yield* kvmMmuPageFault(vcpu.kvm, vcpu.mmu, gfn, errorCode);
  if (outcome === -ENOMEM) return GuestResult.noMemory;
  if (outcome < 0) return GuestResult.fault;
  if (outcome === RetPf.retry && vcpu.awaitRetries) yield* awaitRetryCause(vcpu.kvm, vcpu.mmu);
  if (outcome === RetPf.emulate || outcome === RetPf.writeProtected) return yield* emulateAccess(vcpu, gfn, kind);
  return null;
}

/** The end of a vCPU: it leaves the guest if it is inside, and gives back its roots and pages (kvm_arch_vcpu_destroy). */
export function* vcpuDestroy(vcpu: Vcpu): Task<void> {
  if (vcpu.inGuest) yield* vcpuLeaveGuest(vcpu);
  yield* kvmMmuUnload(vcpu.kvm, vcpu.mmu);
}
