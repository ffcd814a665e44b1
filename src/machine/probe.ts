/**
 * What the machine reports to whoever listens: tracepoints of locks, RCU and TLB shootdown.
 *
 * A thread without a listener pays one test for null. Reports carry numbers only, so that a listener can count and time
 * without allocating. Listeners must not touch the arena.
 */

/** How a lock is taken. */
export const LockMode = { read: 0, write: 1 } as const;
export type LockMode = (typeof LockMode)[keyof typeof LockMode];

export interface Probe {
  /** A lock operation begins (at the attempt, as a kprobe on the lock call sees it). `site` is the caller: see `site.ts`. */
  lockAttempt(lock: number, mode: LockMode, site: number): void;
  /** The fast path did not get it: the thread queues. */
  lockContended(lock: number, mode: LockMode, site: number): void;
  lockAcquired(lock: number, mode: LockMode, site: number): void;
  lockReleased(lock: number, mode: LockMode): void;
  rcuReadLock(): void;
  rcuReadUnlock(): void;
  /** A grace period took `ns` nanoseconds from request to end. */
  rcuGracePeriod(ns: number): void;
  /** All vCPUs of the bit set were asked to flush; `kicked` of them were in the guest. */
  flushRequested(kicked: number): void;
  /** All acknowledgements are in, after `ns` nanoseconds. */
  flushDone(ns: number): void;
  pageAllocated(page: number, fresh: boolean): void;
  pageFreed(page: number): void;
}
