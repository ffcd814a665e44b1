/**
 * The window in which gfns are being invalidated (kernel: kvm_mmu_invalidate_begin, kvm_mmu_invalidate_range_add,
 * kvm_mmu_invalidate_end in virt/kvm/kvm_main.c; mmu_invalidate_retry_gfn in include/linux/kvm_host.h).
 *
 * A fault that looked its PFN up before or during an invalidation must not map it. `in_progress` covers the time in which
 * the host page is going away; `seq` tells a fault that one ended since. Writers hold mmu_lock for write; only the test
 * under mmu_lock decides, the one without it saves faults from queueing for the lock in vain.
 */
import { invariant } from '../machine/invariant.ts';
import { type Address, read, type Task, write } from '../machine/point.ts';
import { Word64 } from '../machine/word64.ts';
import { type Kvm, KvmWord } from './kvm.ts';
import { asGfn, type Gfn } from './level.ts';
import { assertMmuLockHeld, assertMmuLockHeldWrite } from './mmu-lock.ts';

function* readGfn(kvm: Kvm, word: Address): Task<Gfn> {
  const { lo, hi } = kvm.memory.load64(yield read(word));
  return asGfn(hi * 2 ** 32 + (lo >>> 0));
}

function* writeGfn(kvm: Kvm, word: Address, gfn: Gfn): Task<void> {
  const high = Math.floor(gfn / 2 ** 32);
  kvm.memory.store64(yield write(word), new Word64(gfn - high * 2 ** 32, high));
}

export function* mmuInvalidateBegin(kvm: Kvm): Task<void> {
  assertMmuLockHeldWrite(kvm);
  const word = kvm.word(KvmWord.invalidateInProgress);
  const open = kvm.memory.load32(yield read(word)) + 1;
  kvm.memory.store32(yield write(word), open);
  if (open !== 1) return;
  yield* writeGfn(kvm, kvm.word(KvmWord.invalidateStart), asGfn(0));
  yield* writeGfn(kvm, kvm.word(KvmWord.invalidateEnd), asGfn(0));
}

/** Extends the hull of all open invalidations by [start, end). */
export function* mmuInvalidateRangeAdd(kvm: Kvm, start: Gfn, end: Gfn): Task<void> {
  assertMmuLockHeldWrite(kvm);
  const first = kvm.word(KvmWord.invalidateStart);
  const last = kvm.word(KvmWord.invalidateEnd);
  const oldStart = yield* readGfn(kvm, first);
  const oldEnd = yield* readGfn(kvm, last);
  const empty = oldStart === oldEnd;
  yield* writeGfn(kvm, first, empty ? start : asGfn(Math.min(oldStart, start)));
  yield* writeGfn(kvm, last, empty ? end : asGfn(Math.max(oldEnd, end)));
}

export function* mmuInvalidateEnd(kvm: Kvm): Task<void> {
  assertMmuLockHeldWrite(kvm);
  kvm.trace?.operation('invalidate_end');
  const seq = kvm.word(KvmWord.invalidateSeq);
  const word = kvm.word(KvmWord.invalidateInProgress);
  const open = kvm.memory.load32(yield read(word));
  const next = (yield* mmuInvalidateSeq(kvm)) + 1;
  invariant(open > 0, 'invalidate-underflow', 'an invalidation ended that had not begun');
  // The count may drop only once the new sequence number can be seen, or a test without the lock finds neither.
  if (kvm.bugs['retry-check-order-lockless'] === true) {
    kvm.memory.store32(yield write(word), open - 1);
    kvm.memory.store32(yield write(seq), next);
    return;
  }
  kvm.memory.store32(yield write(seq), next);
  kvm.memory.store32(yield write(word), open - 1);
}

/** mmu_invalidate_seq, as a fault notes it before it looks its PFN up. */
export function* mmuInvalidateSeq(kvm: Kvm): Task<number> {
  return kvm.memory.load32(yield read(kvm.word(KvmWord.invalidateSeq)));
}

/** Why a fault must be retried. */
export const InvalidateRetry = { no: 0, inRange: 1, seqMoved: 2 } as const;
export type InvalidateRetry = (typeof InvalidateRetry)[keyof typeof InvalidateRetry];

function* retryTest(kvm: Kvm, seq: number, gfn: Gfn): Task<InvalidateRetry> {
  if (kvm.memory.load32(yield read(kvm.word(KvmWord.invalidateInProgress))) !== 0) {
    if (kvm.bugs['notifier-retry-not-range-aware'] === true) return InvalidateRetry.inRange;
    const start = yield* readGfn(kvm, kvm.word(KvmWord.invalidateStart));
    const end = yield* readGfn(kvm, kvm.word(KvmWord.invalidateEnd));
    if (gfn >= start && gfn < end) return InvalidateRetry.inRange;
  }
  return (yield* mmuInvalidateSeq(kvm)) === seq ? InvalidateRetry.no : InvalidateRetry.seqMoved;
}

/** The test that decides: mmu_lock is held. */
export function* mmuInvalidateRetryGfn(kvm: Kvm, seq: number, gfn: Gfn): Task<InvalidateRetry> {
  assertMmuLockHeld(kvm);
  return yield* retryTest(kvm, seq, gfn);
}

/** The test without the lock, which may err both ways. */
export function* mmuInvalidateRetryGfnUnsafe(kvm: Kvm, seq: number, gfn: Gfn): Task<boolean> {
  return (yield* retryTest(kvm, seq, gfn)) !== InvalidateRetry.no;
}
