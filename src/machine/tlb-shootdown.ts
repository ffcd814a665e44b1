/**
 * Requests to vCPUs, and how a vCPU is made to leave the guest so that it sees them.
 *
 * Each vCPU has a mode and a word of request bits. Who asks sets the bit and then looks at the mode; a vCPU that enters
 * sets the mode and then looks at the bits. Each does so with a full barrier between (here: the first of the two accesses
 * is an atomic exchange), so one of them sees the other: either the vCPU backs out, or it is kicked. A page-table store
 * before the request is thus seen by every guest access after it. In whole steps, both accesses of either side are one.
 * Kernel: kvm_make_all_cpus_request(), kvm_request_needs_ipi() in virt/kvm/kvm_main.c; vcpu_enter_guest() in
 * arch/x86/kvm/x86.c. Requests are numbered here, and what handling one means is the vCPU's business.
 */
import { Cost } from './cost.ts';
import { Counter } from './counters.ts';
import { type Address, own, read, relax, rmw, spend, type Task, wait, wake } from './point.ts';
import type { Thread } from './thread.ts';

/** Words of a vCPU's block: mode and requests, on a cache line of their own. */
export const VCPU_REQUEST_WORDS = 16;

/** vcpu->mode */
export const VcpuMode = { outsideGuest: 0, inGuest: 1, exitingGuest: 2, readingShadowPageTables: 3 } as const;
export type VcpuMode = (typeof VcpuMode)[keyof typeof VcpuMode];

/** Bit numbers of vcpu->requests. */
export const Request = {
  /** KVM_REQ_TLB_FLUSH */
  tlbFlush: 0,
  /** KVM_REQ_MMU_FREE_OBSOLETE_ROOTS */
  freeObsoleteRoots: 1,
  /** KVM_REQ_MMU_SYNC */
  mmuSync: 2,
  /** KVM_REQ_UNBLOCK */
  unblock: 3,
  /** KVM_REQ_VM_DEAD */
  vmDead: 4,
  /** Nothing to do but to leave the guest (KVM_REQ_OUTSIDE_GUEST_MODE). */
  outsideGuestMode: 5,
  /** Flush a range that lies elsewhere: only where flushes go by range. */
  tlbFlushRange: 6,
} as const;

export type Request = (typeof Request)[keyof typeof Request];

const ALL = 0x7fff_ffff;

export class VcpuRequests {
  readonly base: Address;
  readonly vcpus: number;

  /** `base`: the first of `vcpus` blocks of {@link VCPU_REQUEST_WORDS} words, all 0 at the start. */
  constructor(base: Address, vcpus: number) {
    this.base = base;
    this.vcpus = vcpus;
  }

  /** Written by the vCPU, but for the step from in-guest to exiting, which is a kick. */
  mode(vcpu: number): Address {
    return (this.base + vcpu * VCPU_REQUEST_WORDS) as Address;
  }

  /** Bits set by anybody, taken by the vCPU. */
  requests(vcpu: number): Address {
    return (this.base + vcpu * VCPU_REQUEST_WORDS + 1) as Address;
  }
}

/** Sets a request without a kick (`kvm_make_request()`): the vCPU sees it when it next enters the guest. */
export function* makeRequest(req: VcpuRequests, thread: Thread, vcpu: number, request: Request): Task<void> {
  thread.memory.or32(yield rmw(req.requests(vcpu)), 1 << request);
}

export interface RequestOptions {
  /** Return only when no vCPU is in the guest any more that was there when asked (KVM_REQUEST_WAIT). */
  readonly wait: boolean;
}

/**
 * Sets a request for all vCPUs and kicks those in the guest. Returns how many it kicked or, if told to wait, found on
 * their way out.
 */
export function* makeAllVcpusRequest(req: VcpuRequests, thread: Thread, request: Request, options: RequestOptions): Task<number> {
  const { memory, counters, probe, whole } = thread;
  const isFlush = request === Request.tlbFlush;
  const begin = probe === null ? 0 : thread.now();
  const bit = 1 << request;
  let interrupts = 0;
  /** vCPUs to wait for. Most requests find none, and allocate nothing. */
  let leaving: number[] | null = null;
  for (let vcpu = 0; vcpu < req.vcpus; vcpu++) {
    memory.or32(yield rmw(req.requests(vcpu)), bit);
    const word = whole !== null ? own(req.mode(vcpu)) : yield rmw(req.mode(vcpu));
    const mode = memory.cmpxchg32(word, VcpuMode.inGuest, VcpuMode.exitingGuest);
    if (mode === VcpuMode.inGuest) interrupts++;
    if (mode === VcpuMode.inGuest || (options.wait && mode !== VcpuMode.outsideGuest)) (leaving ??= []).push(vcpu);
  }
  const called = leaving === null ? 0 : leaving.length;
  counters[Counter.kicks] += interrupts;
  if (isFlush) {
    counters[Counter.flushRequests]++;
    if (called > 0) counters[Counter.flushesKicked]++;
    if (probe !== null) probe.flushRequested(called);
  }
  if (interrupts > 0) yield spend(Cost.ipi, interrupts);
  if (options.wait && leaving !== null) {
    for (const vcpu of leaving) yield* awaitLeft(req, thread, vcpu);
    if (isFlush) counters[Counter.flushAcks] += called;
  }
  if (isFlush && probe !== null) probe.flushDone(thread.now() - begin);
  return called;
}

/**
 * Waits until `vcpu`, which was asked to leave, is neither leaving nor walking page tables. A vCPU that is back in the
 * guest has left and entered since, and has seen the request.
 */
function* awaitLeft(req: VcpuRequests, thread: Thread, vcpu: number): Task<void> {
  const word = req.mode(vcpu);
  if (thread.whole !== null) {
    yield thread.whole.untilClear(word, VcpuMode.exitingGuest & VcpuMode.readingShadowPageTables);
    return;
  }
  for (;;) {
    const mode = thread.memory.load32(yield read(word));
    if (mode === VcpuMode.exitingGuest) yield wait(word, mode);
    // A short walk with interrupts off: its end wakes nobody.
    else if (mode === VcpuMode.readingShadowPageTables) yield relax(word);
    else return;
  }
}

/** Enters the guest; false, and still outside, if a request is pending. */
export function* enterGuest(req: VcpuRequests, thread: Thread, vcpu: number): Task<boolean> {
  const { memory } = thread;
  if (thread.whole !== null) {
    const word = yield rmw(req.mode(vcpu));
    if (memory.load32(own(req.requests(vcpu))) === 0) {
      memory.store32(word, VcpuMode.inGuest);
      return true;
    }
    thread.counters[Counter.entriesBackedOut]++;
    return false;
  }
  memory.xchg32(yield rmw(req.mode(vcpu)), VcpuMode.inGuest);
  if (memory.load32(yield read(req.requests(vcpu))) === 0) return true;
  thread.counters[Counter.entriesBackedOut]++;
  yield* leaveGuest(req, thread, vcpu);
  return false;
}

/** Leaves the guest. The old mode says whether anybody may be waiting for it. */
export function* leaveGuest(req: VcpuRequests, thread: Thread, vcpu: number): Task<void> {
  const word = req.mode(vcpu);
  const mode = thread.memory.xchg32(yield rmw(word), VcpuMode.outsideGuest);
  if (mode === VcpuMode.exitingGuest) yield wake(word, ALL);
}

/** Whether the vCPU, which is in the guest, was kicked: the guest asks between its accesses. */
export function* guestInterrupted(req: VcpuRequests, thread: Thread, vcpu: number): Task<boolean> {
  return thread.memory.load32(yield read(req.mode(vcpu))) !== VcpuMode.inGuest;
}

/** Takes all requests of `vcpu`: a bit mask by {@link Request}. */
export function* takeRequests(req: VcpuRequests, thread: Thread, vcpu: number): Task<number> {
  const word = req.requests(vcpu);
  if (thread.memory.load32(yield read(word)) === 0) return 0;
  return thread.memory.xchg32(yield rmw(word), 0);
}

/** Takes one request of `vcpu` (`kvm_check_request()`); whether it was there. */
export function* takeRequest(req: VcpuRequests, thread: Thread, vcpu: number, request: Request): Task<boolean> {
  const word = req.requests(vcpu);
  const bit = 1 << request;
  if ((thread.memory.load32(yield read(word)) & bit) === 0) return false;
  return (thread.memory.and32(yield rmw(word), ~bit) & bit) !== 0;
}

/** Begins a walk without a lock that flushes must wait for (`walk_shadow_page_lockless_begin()`). */
export function* beginLocklessWalk(req: VcpuRequests, thread: Thread, vcpu: number): Task<void> {
  thread.memory.xchg32(yield rmw(req.mode(vcpu)), VcpuMode.readingShadowPageTables);
}

/** Ends it (`walk_shadow_page_lockless_end()`). */
export function* endLocklessWalk(req: VcpuRequests, thread: Thread, vcpu: number): Task<void> {
  thread.memory.xchg32(yield rmw(req.mode(vcpu)), VcpuMode.outsideGuest);
}
