/**
 * Yielding in the middle of a walk (kernel: tdp_mmu_iter_cond_resched, arch/x86/kvm/mmu/tdp_mmu.c).
 *
 * A walk that yields starts again at the root, so it must have moved on since it last did: two walks that yield to each
 * other without that would go round for ever. After a yield the caller continues with the next iteration at once and
 * treats the flush it owed as done.
 */
import { Cost } from '../machine/cost.ts';
import { InvariantError } from '../machine/invariant.ts';
import { spend, type Task } from '../machine/point.ts';
import { rcuReadLock, rcuReadUnlock } from '../machine/rcu.ts';
import { MmuCounter } from './counters.ts';
import { kvmFlushRemoteTlbs } from './flush.ts';
import type { Kvm } from './kvm.ts';
import { assertMmuLockMode, mmuLock, mmuLockIsContended, mmuUnlock } from './mmu-lock.ts';
import { Site } from './site.ts';
import type { TdpIter } from './tdp-iter.ts';
import { tdpIterRestart } from './tdp-iter.ts';

/**
 * Whether a walk would yield now: wanted by the scheduler or by somebody who waits, and moved on since it last did. For what
 * looks at many entries in one turn of a walk, with that walk's iterator (tdp_mmu_iter_need_resched).
 */
export function* tdpMmuIterNeedResched(kvm: Kvm, iter: TdpIter): Task<boolean> {
  if (!kvm.thread.needResched() && !(yield* mmuLockIsContended(kvm))) return false;
  return iter.goal !== iter.yieldedGfn;
}

/**
 * Drops and retakes mmu_lock where it is contended or the scheduler wants the processor, flushing first if `flush`.
 *
 * @param shared mode in which mmu_lock is held
 * @returns whether it did; the caller must `continue` then
 */
export function* tdpMmuIterCondResched(kvm: Kvm, iter: TdpIter, flush: boolean, shared: boolean): Task<boolean> {
  assertMmuLockMode(kvm, shared);
  if (iter.yielded) throw new InvariantError('yield-after-yield', 'a walk tested for yielding twice without moving on');
  kvm.counters[MmuCounter.resched_tests]++;
  const { bugs, generation } = kvm;
  const progressed = iter.goal !== iter.yieldedGfn || bugs['tdp-iter-no-forward-progress'] === true;
  if (!progressed && !generation.progressTestLast) return false;
  const resched = kvm.thread.needResched();
  if (!resched && !(yield* mmuLockIsContended(kvm))) return false;
  if (!progressed) return false;

  kvm.counters[resched ? MmuCounter.yields_resched : MmuCounter.yields_contended]++;
  const late = bugs['flush-after-dropping-rcu'] === true;
  if (flush && !late) yield* kvmFlushRemoteTlbs(kvm);
  yield* rcuReadUnlock(kvm.rcu, kvm.thread);
  if (flush && late) yield* kvmFlushRemoteTlbs(kvm);
  kvm.trace?.yielded(shared ? 'read' : 'write');
  yield* mmuUnlock(kvm, shared);
  if (resched) yield spend(Cost.reschedule);
  kvm.thread.environment.giveWay?.();
  yield* mmuLock(kvm, shared, Site.tdp_mmu_iter_cond_resched);
  yield* rcuReadLock(kvm.rcu, kvm.thread);

  if (iter.gfn > iter.goal)
    throw new InvariantError('walk-went-back', `yielded at gfn ${iter.gfn}, beyond the goal ${iter.goal}`);
  iter.yielded = true;
  if (bugs['tdp-iter-advance-after-restart'] === true) {
    yield* tdpIterRestart(kvm, iter);
    iter.yielded = false;
  }
  return true;
}
