/**
 * A probe that passes everything on: for probes that listen to some of it.
 */
import type { LockMode, Probe } from '../../machine/probe.ts';

export class ForwardingProbe implements Probe {
  /** Who hears of it next, or null. */
  readonly inner: Probe | null;

  constructor(inner: Probe | null) {
    this.inner = inner;
  }

  lockAttempt(lock: number, mode: LockMode, site: number): void {
    this.inner?.lockAttempt(lock, mode, site);
  }

  lockContended(lock: number, mode: LockMode, site: number): void {
    this.inner?.lockContended(lock, mode, site);
  }

  lockAcquired(lock: number, mode: LockMode, site: number): void {
    this.inner?.lockAcquired(lock, mode, site);
  }

  lockReleased(lock: number, mode: LockMode): void {
    this.inner?.lockReleased(lock, mode);
  }

  rcuReadLock(): void {
    this.inner?.rcuReadLock();
  }

  rcuReadUnlock(): void {
    this.inner?.rcuReadUnlock();
  }

  rcuGracePeriod(ns: number): void {
    this.inner?.rcuGracePeriod(ns);
  }

  flushRequested(kicked: number): void {
    this.inner?.flushRequested(kicked);
  }

  flushDone(ns: number): void {
    this.inner?.flushDone(ns);
  }

  pageAllocated(page: number, fresh: boolean): void {
    this.inner?.pageAllocated(page, fresh);
  }

  pageFreed(page: number): void {
    this.inner?.pageFreed(page);
  }
}
