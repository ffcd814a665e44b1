/**
 * A probe that says for which lock a task waits.
 *
 * Waiters of a queued lock do not look at the lock but at a node of their own, which serves for every lock in turn: its
 * address does not tell. The lock does, by its reports: between "contended" and "acquired" all waiting is for it.
 */
import { LOCK_NUMBERS, lockName } from '../../machine/lock-number.ts';
import type { LockMode, Probe } from '../../machine/probe.ts';

/** Names of the locks, by number. */
export const LOCK_NAMES: readonly string[] = Array.from({ length: LOCK_NUMBERS }, (_, number) => lockName(number));

/** Passes everything on to `inner`, if there is one. */
export class LockBlame implements Probe {
  readonly #inner: Probe | null;
  readonly #task: number;
  readonly #blamed: Int32Array;
  readonly #columns: readonly number[];

  /** `blamed[task]` is kept at the element of `columns` of the lock that the task waits for, or 0. */
  constructor(inner: Probe | null, task: number, blamed: Int32Array, columns: readonly number[]) {
    this.#inner = inner;
    this.#task = task;
    this.#blamed = blamed;
    this.#columns = columns;
  }

  lockAttempt(lock: number, mode: LockMode, site: number): void {
    this.#inner?.lockAttempt(lock, mode, site);
  }

  lockContended(lock: number, mode: LockMode, site: number): void {
    this.#blamed[this.#task] = this.#columns[lock];
    this.#inner?.lockContended(lock, mode, site);
  }

  lockAcquired(lock: number, mode: LockMode, site: number): void {
    this.#blamed[this.#task] = 0;
    this.#inner?.lockAcquired(lock, mode, site);
  }

  lockReleased(lock: number, mode: LockMode): void {
    this.#inner?.lockReleased(lock, mode);
  }

  rcuReadLock(): void {
    this.#inner?.rcuReadLock();
  }

  rcuReadUnlock(): void {
    this.#inner?.rcuReadUnlock();
  }

  rcuGracePeriod(ns: number): void {
    this.#inner?.rcuGracePeriod(ns);
  }

  flushRequested(kicked: number): void {
    this.#inner?.flushRequested(kicked);
  }

  flushDone(ns: number): void {
    this.#inner?.flushDone(ns);
  }

  pageAllocated(page: number, fresh: boolean): void {
    this.#inner?.pageAllocated(page, fresh);
  }

  pageFreed(page: number): void {
    this.#inner?.pageFreed(page);
  }
}
