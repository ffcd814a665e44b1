/** Giving mmu_lock away in the middle of long work (kernel: cond_resched_lock, spin_needbreak). */
import { Cost } from '../machine/cost.ts';
import { spend, type Task } from '../machine/point.ts';
import { MmuCounter } from '../mmu/counters.ts';
import type { Kvm } from '../mmu/kvm.ts';
import { mmuLockIsContended, mmuWriteLock, mmuWriteUnlock } from '../mmu/mmu-lock.ts';

/** Whether somebody waits for mmu_lock, or the scheduler wants the processor. */
export function* needBreak(kvm: Kvm): Task<boolean> {
  kvm.counters[MmuCounter.resched_tests]++;
  return kvm.thread.needResched() || (yield* mmuLockIsContended(kvm));
}

/** Drops mmu_lock and takes it again: others come first, for the lock is fair. `site` names the caller. */
export function* breakMmuLock(kvm: Kvm, site: number): Task<void> {
  const resched = kvm.thread.needResched();
  kvm.counters[resched ? MmuCounter.yields_resched : MmuCounter.yields_contended]++;
  kvm.trace?.yielded('write');
  yield* mmuWriteUnlock(kvm);
  if (resched) yield spend(Cost.reschedule);
  yield* mmuWriteLock(kvm, site);
}
