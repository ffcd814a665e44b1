/**
 * struct mutex: a lock whose waiters sleep (slots_lock, slots_arch_lock, the host's mmap_lock).
 *
 * One word with three states: free, held, held with sleepers perhaps. Free, it costs one atomic operation to take and one
 * to release. A newcomer may overtake a waiter that was just woken, as in the kernel short of its hand-off after 1 ms.
 * Kernel: kernel/locking/mutex.c; the states are those of Ulrich Drepper's "Futexes Are Tricky".
 */
import { InvariantError } from './invariant.ts';
import { lockName } from './lock-number.ts';
import { checkAcquire, checkMaySleep, checkRelease } from './lock-order.ts';
import { type Address, own, rmw, type Task, wait, wake } from './point.ts';
import { LockMode } from './probe.ts';
import { Held, type Thread } from './thread.ts';

export const MUTEX_WORDS = 16;

const State = { free: 0, held: 1, contended: 2 } as const;

export class Mutex {
  /** First of {@link MUTEX_WORDS} words, all 0 at the start: the state. */
  readonly base: Address;
  /** See `lock-number.ts`. */
  readonly number: number;
  /** The id of the thread that holds it, plus 1, or 0; written by that thread, for watchdogs. */
  readonly owner: Address;

  constructor(base: Address, number: number) {
    this.base = base;
    this.number = number;
    this.owner = (base + 1) as Address;
  }
}

/** Takes `lock`. `site` is the caller, for the probe. Errors: self-deadlock, sleeping-in-atomic, lock-order. */
export function* mutexLock(lock: Mutex, thread: Thread, site: number): Task<void> {
  const { probe } = thread;
  if (thread.held(lock.number) === Held.no) checkMaySleep(thread, lockName(lock.number));
  checkAcquire(thread, lock.number);
  if (probe !== null) probe.lockAttempt(lock.number, LockMode.write, site);
  if (thread.whole !== null) {
    yield* sleepLock(lock.base, thread);
  } else if (thread.memory.cmpxchg32(yield rmw(lock.base), State.free, State.held) !== State.free) {
    if (probe !== null) probe.lockContended(lock.number, LockMode.write, site);
    yield* sleepUntilMine(lock.base, thread);
  }
  thread.memory.store32(own(lock.owner), thread.id + 1);
  thread.setHeld(lock.number, Held.write);
  if (probe !== null) probe.lockAcquired(lock.number, LockMode.write, site);
}

/** Releases `lock`. Errors: unlock-not-held. */
export function* mutexUnlock(lock: Mutex, thread: Thread): Task<void> {
  checkRelease(thread, lock.number, Held.write);
  thread.setHeld(lock.number, Held.no);
  if (thread.probe !== null) thread.probe.lockReleased(lock.number, LockMode.write);
  thread.memory.store32(own(lock.owner), 0);
  yield* sleepUnlock(lock.base, thread);
}

/** `lockdep_assert_held()`. Errors: lock-not-held. */
export function assertMutexHeld(lock: Mutex, thread: Thread): void {
  if (thread.held(lock.number) === Held.no) {
    throw new InvariantError('lock-not-held', `${thread.name} does not hold ${lockName(lock.number)}`);
  }
}

/** Takes the mutex whose state is at `a`, without checks or reports: for locks inside other structures. */
export function* sleepLock(a: Address, thread: Thread): Task<void> {
  const { memory, whole } = thread;
  if (whole !== null) memory.store32(yield whole.acquire(a, -1), State.held);
  else if (memory.cmpxchg32(yield rmw(a), State.free, State.held) !== State.free) yield* sleepUntilMine(a, thread);
}

/**
 * A waiter that gets the lock leaves it marked as contended, because it cannot know whether it was the only one: that
 * costs a needless wake at times, and never loses one.
 */
function* sleepUntilMine(a: Address, thread: Thread): Task<void> {
  while (thread.memory.xchg32(yield rmw(a), State.contended) !== State.free) yield wait(a, State.contended);
}

/** Releases the mutex whose state is at `a`. */
export function* sleepUnlock(a: Address, thread: Thread): Task<void> {
  if (thread.memory.xchg32(yield rmw(a), State.free) === State.contended) yield wake(a, 1);
}
