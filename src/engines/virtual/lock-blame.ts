/**
 * A probe that says for which lock a task waits.
 *
 * Waiters of a queued lock do not look at the lock but at a node of their own, which serves for every lock in turn: its
 * address does not tell. The lock does, by its reports: between "contended" and "acquired" all waiting is for it.
 */
import { LOCK_NUMBERS, lockName } from '../../machine/lock-number.ts';
import type { LockMode, Probe } from '../../machine/probe.ts';
import { ForwardingProbe } from './forwarding-probe.ts';

/** Names of the locks, by number. */
export const LOCK_NAMES: readonly string[] = Array.from({ length: LOCK_NUMBERS }, (_, number) => lockName(number));

export class LockBlame extends ForwardingProbe {
  readonly #task: number;
  readonly #blamed: Int32Array;
  readonly #columns: readonly number[];

  /** `blamed[task]` is kept at the element of `columns` of the lock that the task waits for, or 0. */
  constructor(inner: Probe | null, task: number, blamed: Int32Array, columns: readonly number[]) {
    super(inner);
    this.#task = task;
    this.#blamed = blamed;
    this.#columns = columns;
  }

  override lockContended(lock: number, mode: LockMode, site: number): void {
    this.#blamed[this.#task] = this.#columns[lock];
    super.lockContended(lock, mode, site);
  }

  override lockAcquired(lock: number, mode: LockMode, site: number): void {
    this.#blamed[this.#task] = 0;
    super.lockAcquired(lock, mode, site);
  }
}
