/** Remote TLB flushes (kernel: kvm_flush_remote_tlbs, kvm_flush_remote_tlbs_range; x86 flushes ranges as a whole). */
import { type Task, write } from '../machine/point.ts';
import { makeAllVcpusRequest, Request } from '../machine/tlb-shootdown.ts';
import { Word64 } from '../machine/word64.ts';
import { type Kvm, KvmWord } from './kvm.ts';
import type { Gfn, Level } from './level.ts';

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

/**
 * Flushes what vCPUs cache of the table, just removed, that mapped the page of `level` at `gfn`: all of its range.
 */
export function* kvmFlushRemovedTable(kvm: Kvm, gfn: Gfn, level: Level): Task<void> {
  const { geometry } = kvm;
  const pages = geometry.span(level);
  if (kvm.bugs['removed-pt-flush-wrong-range'] !== true) {
    yield* kvmFlushRemoteTlbsRange(kvm, gfn, pages);
    return;
  }
  // From the last child on, as far as the whole table would reach; and processors flush no more than they are asked to.
  const first = gfn + pages - geometry.span(level - 1);
  kvm.memory.store64(yield write(kvm.word(KvmWord.flushStart)), new Word64(first, 0));
  kvm.memory.store64(yield write(kvm.word(KvmWord.flushEnd)), new Word64(first + pages, 0));
  yield* makeAllVcpusRequest(kvm.requests, kvm.thread, Request.tlbFlushRange, { wait: true });
}
