/**
 * Zapping a range of one root as until 5.17 (kernel: zap_gfn_range in tdp_mmu.c): not only leaves, but every entry that lies
 * wholly inside the range, with the table that it may link. What replaced it zaps leaves and leaves tables alone, because a
 * table that goes costs more than it is worth, and needs a flush of its own kind.
 */
import type { Task } from '../machine/point.ts';
import { rcuReadLock, rcuReadUnlock } from '../machine/rcu.ts';
import type { Kvm } from './kvm.ts';
import { type Gfn, PG_LEVEL_4K } from './level.ts';
import { assertMmuLockHeldWrite } from './mmu-lock.ts';
import { iterSetSpte } from './set-spte.ts';
import { isLastSpte } from './spte.ts';
import { iterPresent, TdpIter, tdpIterNext, tdpIterStart } from './tdp-iter.ts';
import { tdpMmuIterCondResched } from './tdp-iter-resched.ts';

/**
 * Zaps what lies inside [start, end), and the leaves that reach into it. mmu_lock is held for write.
 *
 * @param flush whether the caller owes a flush already; a yield pays for it
 * @returns whether a flush is owed
 */
export function* zapGfnRange(kvm: Kvm, root: number, start: Gfn, end: Gfn, canYield: boolean, flush: boolean): Task<boolean> {
  assertMmuLockHeldWrite(kvm);
  const iter = new TdpIter(kvm.spte.nonpresent);
  let owed = flush;
  yield* rcuReadLock(kvm.rcu, kvm.thread);
  yield* tdpIterStart(kvm, iter, root, PG_LEVEL_4K, start);
  for (; iter.inside(end); yield* tdpIterNext(kvm, iter)) {
    if (canYield && (yield* tdpMmuIterCondResched(kvm, iter, owed, false))) {
      owed = false;
      continue;
    }
    if (!iterPresent(iter)) continue;
    const inside = iter.gfn >= start && iter.gfn + kvm.geometry.span(iter.level) <= end;
    if (!inside && !isLastSpte(iter.oldSpte, iter.level)) continue;
    yield* iterSetSpte(kvm, iter, kvm.spte.nonpresent);
    owed = true;
  }
  yield* rcuReadUnlock(kvm.rcu, kvm.thread);
  return owed;
}
