/**
 * rwlock_t: the kernel's queued reader-writer lock, which mmu_lock is since 5.12.
 *
 * One word counts readers and has two flags, "a writer holds it" and "a writer waits at the head of the queue". Whoever
 * does not get it at once queues, readers and writers in one line, and only the head of the line looks at the word.
 * New readers that see either flag queue as well, so a writer waits for the readers inside and for no others.
 * Kernel: kernel/locking/qrwlock.c, include/asm-generic/qrwlock.h. Count and queue share a cache line, as in the kernel.
 *
 * Readers add and subtract by `count`: what they make of the old value is in the writer's flags, which no reader changes,
 * so the order of two readers shows to nobody.
 *
 * No wake-up is lost. Only the head of the queue sleeps on the count word, and it sleeps on a value that it read after it
 * had left a mark there: a reader its own share, a writer the waiting flag. What it waits for can come true in two ways.
 * - The writer leaves: it sees in the old value of its own exchange that more than its flag was set, and wakes.
 * - A reader's share goes (an unlock, or a reader on its way into the queue): if the waiting flag was in the old value, it
 *   wakes; if it was not, the subtraction came before the flag, and the writer's first look after it sees the result.
 * A futex compares and sleeps in one step, so a change between look and sleep keeps the head awake.
 *
 * Where the engine offers whole steps there is no queue: who wants the lock says so in a word that holders look at, and takes it
 * as soon as nobody is in the way.
 */
import { InvariantError } from './invariant.ts';
import { lockName } from './lock-number.ts';
import { checkAcquire, checkRelease } from './lock-order.ts';
import { type Address, count, own, read, rmw, type Task, wait, wake } from './point.ts';
import { LockMode } from './probe.ts';
import { queueLock, queueUnlock } from './queue-lock.ts';
import { Held, type Thread } from './thread.ts';
import type { WholeSteps } from './whole-steps.ts';

export const RWLOCK_WORDS = 16;

/** Bits of the count word. */
export const RwLockBit = {
  /** A writer holds the lock (`_QW_LOCKED`). */
  locked: 0x0ff,
  /** A writer is at the head of the queue (`_QW_WAITING`). */
  waiting: 0x100,
  /** One reader's share (`_QR_BIAS`). */
  reader: 0x200,
} as const;

const WRITER = RwLockBit.locked | RwLockBit.waiting;

export class RwLock {
  /** First of {@link RWLOCK_WORDS} words, all 0 at the start: the count. */
  readonly base: Address;
  /** See `lock-number.ts`. */
  readonly number: number;
  /** The id of the thread that holds it for write, plus 1, or 0; written by that thread, for watchdogs. */
  readonly writer: Address;
  /** The queue: the tail and the holder of an MCS lock. */
  readonly queue: Address;
  /** In whole steps: how many readers want it. Writers are counted in the queue's word. */
  readonly readersWaiting: Address;

  constructor(base: Address, number: number) {
    this.base = base;
    this.number = number;
    this.writer = (base + 1) as Address;
    this.queue = (base + 2) as Address;
    this.readersWaiting = (base + 4) as Address;
  }
}

/** Takes `lock` for read. `site` is the caller, for the probe. Errors: self-deadlock, lock-order. */
export function* readLock(lock: RwLock, thread: Thread, site: number): Task<void> {
  const { probe } = thread;
  checkAcquire(thread, lock.number);
  if (probe !== null) probe.lockAttempt(lock.number, LockMode.read, site);
  if (thread.whole !== null) {
    yield* readLockWhole(lock, thread, thread.whole);
  } else {
    const old = thread.memory.add32(yield count(lock.base), RwLockBit.reader);
    if ((old & WRITER) !== 0) {
      if (probe !== null) probe.lockContended(lock.number, LockMode.read, site);
      yield* readLockSlow(lock, thread);
    }
  }
  thread.setHeld(lock.number, Held.read);
  if (probe !== null) probe.lockAcquired(lock.number, LockMode.read, site);
}

/** Takes a share as soon as no writer is inside. Nobody looks at the count of those who wait while one of them gets in. */
function* readLockWhole(lock: RwLock, { memory }: Thread, whole: WholeSteps): Task<void> {
  memory.add32(yield count(lock.readersWaiting), 1);
  memory.add32(yield whole.share(lock.base, RwLockBit.locked), RwLockBit.reader);
  memory.add32(own(lock.readersWaiting), -1);
}

/** Gives the share back, queues, and at the head of the queue takes it again and waits for the writer inside to leave. */
function* readLockSlow(lock: RwLock, thread: Thread): Task<void> {
  const { memory } = thread;
  yield* dropShare(lock, thread);
  yield* queueLock(lock.queue, thread);
  const old = memory.add32(yield count(lock.base), RwLockBit.reader);
  if ((old & RwLockBit.locked) !== 0) {
    let seen = memory.load32(yield read(lock.base));
    while ((seen & RwLockBit.locked) !== 0) {
      yield wait(lock.base, seen);
      seen = memory.load32(yield read(lock.base));
    }
  }
  yield* queueUnlock(lock.queue, thread);
}

/** Subtracts a reader's share, and wakes the writer that waits for it to go, if one does. */
function* dropShare(lock: RwLock, thread: Thread): Task<void> {
  const old = thread.memory.add32(yield count(lock.base), -RwLockBit.reader);
  if ((old & RwLockBit.waiting) !== 0) yield wake(lock.base, 1);
}

/** Releases `lock`, held for read. Errors: unlock-not-held. */
export function* readUnlock(lock: RwLock, thread: Thread): Task<void> {
  checkRelease(thread, lock.number, Held.read);
  thread.setHeld(lock.number, Held.no);
  if (thread.probe !== null) thread.probe.lockReleased(lock.number, LockMode.read);
  yield* dropShare(lock, thread);
}

/** Takes `lock` for write. `site` is the caller, for the probe. Errors: self-deadlock, lock-order. */
export function* writeLock(lock: RwLock, thread: Thread, site: number): Task<void> {
  const { probe, memory } = thread;
  checkAcquire(thread, lock.number);
  if (probe !== null) probe.lockAttempt(lock.number, LockMode.write, site);
  if (thread.whole !== null) {
    memory.add32(yield count(lock.queue), 1);
    memory.store32(yield thread.whole.acquire(lock.base, -1), RwLockBit.locked);
    memory.add32(own(lock.queue), -1);
  } else if (memory.cmpxchg32(yield rmw(lock.base), 0, RwLockBit.locked) !== 0) {
    if (probe !== null) probe.lockContended(lock.number, LockMode.write, site);
    yield* writeLockSlow(lock, thread);
  }
  memory.store32(own(lock.writer), thread.id + 1);
  thread.setHeld(lock.number, Held.write);
  if (probe !== null) probe.lockAcquired(lock.number, LockMode.write, site);
}

/** Queues, and at the head of the queue announces itself and waits until the announcement is all that is left. */
function* writeLockSlow(lock: RwLock, thread: Thread): Task<void> {
  const { memory } = thread;
  yield* queueLock(lock.queue, thread);
  if (memory.cmpxchg32(yield rmw(lock.base), 0, RwLockBit.locked) !== 0) {
    let seen = memory.or32(yield rmw(lock.base), RwLockBit.waiting) | RwLockBit.waiting;
    for (;;) {
      if (seen === RwLockBit.waiting) {
        seen = memory.cmpxchg32(yield rmw(lock.base), RwLockBit.waiting, RwLockBit.locked);
        if (seen === RwLockBit.waiting) break;
      } else {
        yield wait(lock.base, seen);
        seen = memory.load32(yield read(lock.base));
      }
    }
  }
  yield* queueUnlock(lock.queue, thread);
}

/** Releases `lock`, held for write. Errors: unlock-not-held. */
export function* writeUnlock(lock: RwLock, thread: Thread): Task<void> {
  const { memory } = thread;
  checkRelease(thread, lock.number, Held.write);
  thread.setHeld(lock.number, Held.no);
  if (thread.probe !== null) thread.probe.lockReleased(lock.number, LockMode.write);
  memory.store32(own(lock.writer), 0);
  const old = memory.and32(yield rmw(lock.base), ~RwLockBit.locked);
  if (old !== RwLockBit.locked) yield wake(lock.base, 1);
}

/** Whether somebody queues for `lock` (`rwlock_is_contended()`). */
export function* rwlockIsContended(lock: RwLock, thread: Thread): Task<boolean> {
  if (thread.memory.load32(yield read(lock.queue)) !== 0) return true;
  // A reader in the way of another reader is none.
  if (thread.whole === null || thread.held(lock.number) !== Held.write) return false;
  return thread.memory.load32(yield read(lock.readersWaiting)) !== 0;
}

/** `lockdep_assert_held_read()`. Errors: lock-not-held. */
export function assertHeldRead(lock: RwLock, thread: Thread): void {
  if (thread.held(lock.number) !== Held.read) notHeld(lock, thread, ' for read');
}

/** `lockdep_assert_held_write()`. Errors: lock-not-held. */
export function assertHeldWrite(lock: RwLock, thread: Thread): void {
  if (thread.held(lock.number) !== Held.write) notHeld(lock, thread, ' for write');
}

/** `lockdep_assert_held()`, in any mode. Errors: lock-not-held. */
export function assertHeld(lock: RwLock, thread: Thread): void {
  if (thread.held(lock.number) === Held.no) notHeld(lock, thread, '');
}

function notHeld(lock: RwLock, thread: Thread, mode: string): never {
  throw new InvariantError('lock-not-held', `${thread.name} does not hold ${lockName(lock.number)}${mode}`);
}
