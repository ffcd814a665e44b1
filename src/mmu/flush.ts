/** Remote TLB flushes (kernel: kvm_flush_remote_tlbs, kvm_flush_remote_tlbs_range; x86 flushes ranges as a whole). */
import type { Task } from '../machine/point.ts';
import { makeAllVcpusRequest, Request } from '../machine/tlb-shootdown.ts';
import type { Kvm } from './kvm.ts';
import type { Gfn } from './level.ts';

/**
 * Asks every vCPU to flush and waits until those in the guest have left it: from then on no guest access uses a translation
 * that was cached before the call.
 */
export function* kvmFlushRemoteTlbs(kvm: Kvm): Task<void> {
  kvm.trace?.operation('flush_all');
  yield* makeAllVcpusRequest(kvm.requests, kvm.thread, Request.tlbFlush, { wait: true });
}

/** Flushes `pages` pages from `gfn` on: on x86 by flushing everything. */
export function* kvmFlushRemoteTlbsRange(kvm: Kvm, gfn: Gfn, pages: number): Task<void> {
  kvm.trace?.flushRange(gfn, pages);
  yield* kvmFlushRemoteTlbs(kvm);
}
