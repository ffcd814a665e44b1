/**
 * spinlock_t: a queued spinlock with the checks of lockdep and reports to the probe.
 *
 * Free, it costs one atomic operation to take and one to release. Kernel: include/asm-generic/qspinlock.h.
 * In whole steps there is no queue, and the word behind the holder counts those who want mmu_lock, whose holders ask.
 */
import { InvariantError } from './invariant.ts';
import { LockNumber, lockName } from './lock-number.ts';
import { checkAcquire, checkRelease } from './lock-order.ts';
import { type Address, count, own, read, rmw, type Task } from './point.ts';
import { LockMode } from './probe.ts';
import { awaitTurn, holderOf, queueUnlock, releaseWhole, takeNode } from './queue-lock.ts';
import { Held, type Thread } from './thread.ts';
import type { WholeSteps } from './whole-steps.ts';

/** A cache line: the lock shares it with nothing that it protects. */
export const SPINLOCK_WORDS = 16;

export class SpinLock {
  /** First of {@link SPINLOCK_WORDS} words, all 0 at the start. */
  readonly base: Address;
  /** See `lock-number.ts`. */
  readonly number: number;

  constructor(base: Address, number: number) {
    this.base = base;
    this.number = number;
  }
}

/** Takes `lock`. `site` is the caller, for the probe. Errors: self-deadlock, lock-order. */
export function* spinLock(lock: SpinLock, thread: Thread, site: number): Task<void> {
  const { probe, memory } = thread;
  checkAcquire(thread, lock.number);
  if (probe !== null) probe.lockAttempt(lock.number, LockMode.write, site);
  const node = takeNode(thread);
  if (thread.whole !== null) yield* spinLockWhole(lock, thread, thread.whole, node);
  else yield* spinLockQueued(lock, thread, site, node);
  memory.store32(own(holderOf(lock.base)), node);
  thread.setHeld(lock.number, Held.write);
  if (probe !== null) probe.lockAcquired(lock.number, LockMode.write, site);
}

function* spinLockQueued(lock: SpinLock, thread: Thread, site: number, node: Address): Task<void> {
  const { probe, memory } = thread;
  const previous = memory.xchg32(yield rmw(lock.base), node);
  if (previous !== 0) {
    if (probe !== null) probe.lockContended(lock.number, LockMode.write, site);
    yield* awaitTurn(thread, node, previous as Address);
  }
}

function* spinLockWhole(lock: SpinLock, { memory }: Thread, whole: WholeSteps, node: Address): Task<void> {
  const asked = lock.number === LockNumber.mmuLock;
  if (asked) memory.add32(yield count(waitingFor(lock)), 1);
  memory.store32(yield whole.acquire(lock.base, -1), node);
  if (asked) memory.add32(own(waitingFor(lock)), -1);
}

const waitingFor = (lock: SpinLock): Address => (lock.base + 2) as Address;

/** Releases `lock`. Errors: unlock-not-held. */
export function* spinUnlock(lock: SpinLock, thread: Thread): Task<void> {
  checkRelease(thread, lock.number, Held.write);
  thread.setHeld(lock.number, Held.no);
  if (thread.probe !== null) thread.probe.lockReleased(lock.number, LockMode.write);
  if (thread.whole !== null) yield* releaseWhole(lock.base, thread);
  else yield* queueUnlock(lock.base, thread);
}

/** Whether anybody waits for `lock`, which the caller holds (`spin_is_contended()`). */
export function* spinIsContended(lock: SpinLock, thread: Thread): Task<boolean> {
  if (thread.whole !== null) return thread.memory.load32(yield read(waitingFor(lock))) !== 0;
  const tail = thread.memory.load32(yield read(lock.base));
  return tail !== thread.memory.load32(own(holderOf(lock.base)));
}

/** `lockdep_assert_held()`. Errors: lock-not-held. */
export function assertSpinHeld(lock: SpinLock, thread: Thread): void {
  if (thread.held(lock.number) === Held.no) {
    throw new InvariantError('lock-not-held', `${thread.name} does not hold ${lockName(lock.number)}`);
  }
}
