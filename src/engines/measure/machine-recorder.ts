/**
 * The probe of a measured thread: locks, grace periods and TLB flushes. Pages are counted by the allocator's own counters.
 */
import type { LockMode, Probe } from '../../machine/probe.ts';
import { Distribution } from './distribution.ts';
import { LockRecorder } from './lock-recorder.ts';
import type { Sampler } from './sampler.ts';
import type { StatRegion } from './stat-region.ts';

export class MachineRecorder implements Probe {
  readonly #locks: LockRecorder;
  readonly #gracePeriod: Distribution;
  readonly #flush: Distribution;

  constructor(region: StatRegion, thread: number, now: () => number, sampler: Sampler) {
    this.#locks = new LockRecorder(region, thread, now, sampler);
    this.#gracePeriod = new Distribution(region, region.offset(thread, 'gracePeriod'));
    this.#flush = new Distribution(region, region.offset(thread, 'flush'));
  }

  lockAttempt(_lock: number, _mode: LockMode, _site: number): void {}

  lockContended(lock: number, mode: LockMode, site: number): void {
    this.#locks.contended(lock, mode, site);
  }

  lockAcquired(lock: number, mode: LockMode, site: number): void {
    this.#locks.acquired(lock, mode, site);
  }

  lockReleased(lock: number, _mode: LockMode): void {
    this.#locks.released(lock);
  }

  rcuReadLock(): void {}
  rcuReadUnlock(): void {}

  rcuGracePeriod(ns: number): void {
    this.#gracePeriod.record(ns, 1);
  }

  flushRequested(_kicked: number): void {}

  flushDone(ns: number): void {
    this.#flush.record(ns, 1);
  }

  pageAllocated(_page: number, _fresh: boolean): void {}
  pageFreed(_page: number): void {}
}
