/**
 * mmu_lock: a reader-writer lock since 5.12, a spinlock before it; the configuration decides.
 *
 * Under the spinlock both modes exclude everybody. What an operation needs is asserted in its first line.
 */
import { invariant } from '../machine/invariant.ts';
import { LockNumber } from '../machine/lock-number.ts';
import type { Task } from '../machine/point.ts';
import { readLock, readUnlock, rwlockIsContended, writeLock, writeUnlock } from '../machine/rwlock.ts';
import { spinIsContended, spinLock, spinUnlock } from '../machine/spinlock.ts';
import { Held } from '../machine/thread.ts';
import type { Kvm } from './kvm.ts';

const isSpinlock = (kvm: Kvm): boolean => kvm.config.lock === 'spinlock';

export function* mmuReadLock(kvm: Kvm, site: number): Task<void> {
  if (isSpinlock(kvm)) yield* spinLock(kvm.mmuSpinLock, kvm.thread, site);
  else yield* readLock(kvm.mmuRwLock, kvm.thread, site);
}

export function* mmuReadUnlock(kvm: Kvm): Task<void> {
  if (isSpinlock(kvm)) yield* spinUnlock(kvm.mmuSpinLock, kvm.thread);
  else yield* readUnlock(kvm.mmuRwLock, kvm.thread);
}

export function* mmuWriteLock(kvm: Kvm, site: number): Task<void> {
  if (isSpinlock(kvm)) yield* spinLock(kvm.mmuSpinLock, kvm.thread, site);
  else yield* writeLock(kvm.mmuRwLock, kvm.thread, site);
}

export function* mmuWriteUnlock(kvm: Kvm): Task<void> {
  if (isSpinlock(kvm)) yield* spinUnlock(kvm.mmuSpinLock, kvm.thread);
  else yield* writeUnlock(kvm.mmuRwLock, kvm.thread);
}

/** Takes mmu_lock in the mode that `shared` names. */
export function* mmuLock(kvm: Kvm, shared: boolean, site: number): Task<void> {
  if (shared) yield* mmuReadLock(kvm, site);
  else yield* mmuWriteLock(kvm, site);
}

export function* mmuUnlock(kvm: Kvm, shared: boolean): Task<void> {
  if (shared) yield* mmuReadUnlock(kvm);
  else yield* mmuWriteUnlock(kvm);
}

/** Whether somebody waits for mmu_lock, and a holder shall care (rwlock_needbreak: not with voluntary preemption). */
export function* mmuLockIsContended(kvm: Kvm): Task<boolean> {
  if (kvm.params.get('needbreak') === 0) return false;
  if (isSpinlock(kvm)) return yield* spinIsContended(kvm.mmuSpinLock, kvm.thread);
  return yield* rwlockIsContended(kvm.mmuRwLock, kvm.thread);
}

export function assertMmuLockHeld(kvm: Kvm): void {
  invariant(kvm.thread.held(LockNumber.mmuLock) !== Held.no, 'lock-not-held', 'mmu_lock is not held');
}

export function assertMmuLockHeldRead(kvm: Kvm): void {
  const held = kvm.thread.held(LockNumber.mmuLock);
  invariant(held === Held.read || (held === Held.write && isSpinlock(kvm)), 'lock-not-held', 'mmu_lock is not held for read');
}

export function assertMmuLockHeldWrite(kvm: Kvm): void {
  invariant(kvm.thread.held(LockNumber.mmuLock) === Held.write, 'lock-not-held', 'mmu_lock is not held for write');
}

/** The assertion for either mode (kvm_lockdep_assert_mmu_lock_held). */
export function assertMmuLockMode(kvm: Kvm, shared: boolean): void {
  if (shared) assertMmuLockHeldRead(kvm);
  else assertMmuLockHeldWrite(kvm);
}
