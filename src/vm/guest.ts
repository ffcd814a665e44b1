/**
 * Guest code: a coroutine of accesses to guest memory.
 *
 * The vCPU enters the guest at its first access and stays there: each access looks whether the vCPU was kicked, translates
 * by the TLB, and leaves the guest only for a fault or a kick. An access takes place with the translation that it found,
 * however old: until the vCPU leaves the guest nobody may count on anything else.
 */
import { Cost } from '../machine/cost.ts';
import { spend, type Task } from '../machine/point.ts';
import { guestInterrupted } from '../machine/tlb-shootdown.ts';
import type { Gfn } from '../mmu/level.ts';
import { accessFrame } from './guest-memory.ts';
import { AccessKind, PML_FULL, WALKED, walkPageTables } from './page-walker.ts';
import { TlbRight } from './tlb.ts';
import { GuestResult, type Vcpu } from './vcpu.ts';
import { VcpuCounter } from './vcpu-counters.ts';
import { vcpuEnterGuest, vcpuHandleFault, vcpuInterrupted, vcpuLeaveGuest } from './vcpu-run.ts';

/** What a cached translation must allow, by kind of access: a write also needs the dirty bit set already. */
const NEEDED: readonly number[] = [TlbRight.read, TlbRight.write | TlbRight.dirty, TlbRight.exec];

/** One access of the guest to `gfn`. Returns how it ended; the vCPU then is in the guest if the result is `done`. */
export function* guestAccess(vcpu: Vcpu, gfn: Gfn, kind: AccessKind): Task<GuestResult> {
  vcpu.counters[VcpuCounter.guest_accesses]++;
  if (vcpu.inGuest && !vcpu.mustFetch && !(yield* guestInterrupted(vcpu.requests, vcpu.thread, vcpu.id))) {
    const entry = vcpu.tlb.find(gfn, NEEDED[kind]);
    if (entry !== 0) {
      yield spend(Cost.guestAccess);
      if (vcpu.contentWord !== null) yield* accessFrame(vcpu, vcpu.tlb.frame(entry, gfn), gfn, kind);
      return GuestResult.done;
    }
  }
  return yield* accessSlowly(vcpu, gfn, kind);
}

/** The access from a TLB miss, or from outside the guest, until it has taken place or the run ends. */
function* accessSlowly(vcpu: Vcpu, gfn: Gfn, kind: AccessKind): Task<GuestResult> {
  for (;;) {
    if (vcpu.inGuest && (yield* guestInterrupted(vcpu.requests, vcpu.thread, vcpu.id))) yield* vcpuInterrupted(vcpu);
    if (!vcpu.inGuest) {
      const entered = yield* vcpuEnterGuest(vcpu);
      if (entered !== GuestResult.done) return entered;
    }
    let at = gfn;
    let how = kind;
    let walked = WALKED;
    if (vcpu.mustFetch && vcpu.codeGfn !== null) {
      at = vcpu.codeGfn;
      how = AccessKind.exec;
      walked = yield* translate(vcpu, at, how);
      if (walked === WALKED) vcpu.mustFetch = false;
    }
    if (walked === WALKED) {
      at = gfn;
      how = kind;
      walked = yield* translate(vcpu, at, how);
    }
    if (walked === WALKED) {
      yield spend(Cost.guestAccess);
      if (vcpu.contentWord !== null) yield* accessFrame(vcpu, vcpu.tlb.frame(vcpu.walker.entry, gfn), gfn, kind);
      return GuestResult.done;
    }
    if (walked === PML_FULL) {
      vcpu.counters[VcpuCounter.pml_full_exits]++;
      yield* vcpuLeaveGuest(vcpu);
      continue;
    }
    const result = yield* vcpuHandleFault(vcpu, at, how, walked);
    if (result !== null) return result;
  }
}

/**
 * One page fault of the guest's access to `gfn`: handled once, whatever comes of it. Where the page turns out to be mapped, the
 * fault is one that was taken before: it is handled with `errorCode`. There is none, and the access takes place, where the vCPU
 * has a translation cached. Returns how the access ended, or null: the guest shall try again.
 */
export function* guestFault(vcpu: Vcpu, gfn: Gfn, kind: AccessKind, errorCode: number): Task<GuestResult | null> {
  if (!vcpu.inGuest) {
    const entered = yield* vcpuEnterGuest(vcpu);
    if (entered !== GuestResult.done) return entered;
  }
  if (vcpu.tlb.find(gfn, NEEDED[kind]) !== 0) return yield* guestAccess(vcpu, gfn, kind);
  const walked = yield* walkPageTables(vcpu.walker, gfn, kind);
  return yield* vcpuHandleFault(vcpu, gfn, kind, walked === WALKED || walked === PML_FULL ? errorCode : walked);
}

/** Translates by the TLB, or by a walk; the entry is `vcpu.walker.entry`. Returns as {@link walkPageTables} does. */
function* translate(vcpu: Vcpu, gfn: Gfn, kind: AccessKind): Task<number> {
  const { walker } = vcpu;
  const entry = vcpu.tlb.find(gfn, NEEDED[kind]);
  if (entry === 0) return yield* walkPageTables(walker, gfn, kind);
  walker.entry = entry;
  return WALKED;
}

/**
 * The guest's exit to user space by port I/O, with which a run ends (KVM_EXIT_IO). A vCPU outside the guest enters it for
 * that. Returns `done`, or why it could not enter.
 */
export function* guestIoExit(vcpu: Vcpu): Task<GuestResult> {
  if (!vcpu.inGuest) {
    const entered = vcpu.codeGfn === null ? yield* vcpuEnterGuest(vcpu) : yield* guestAccess(vcpu, vcpu.codeGfn, AccessKind.exec);
    if (entered !== GuestResult.done) return entered;
  }
  vcpu.counters[VcpuCounter.io_exits]++;
  yield* vcpuLeaveGuest(vcpu);
  return GuestResult.done;
}
