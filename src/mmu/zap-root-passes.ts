/**
 * Emptying one root (kernel: tdp_mmu_zap_root, __tdp_mmu_zap_root in tdp_mmu.c). Nothing is flushed: nobody runs on it any more.
 */
import type { Task } from '../machine/point.ts';
import { rcuReadLock, rcuReadUnlock } from '../machine/rcu.ts';
import type { Kvm } from './kvm.ts';
import { asGfn, type Level } from './level.ts';
import { assertMmuLockMode } from './mmu-lock.ts';
import { iterSetSpte, setSpteAtomic, UpdateKind } from './set-spte.ts';
import { iterPresent, TdpIter, tdpIterNext, tdpIterStart } from './tdp-iter.ts';
import { tdpMmuIterCondResched } from './tdp-iter-resched.ts';

/** Zaps everything below `root`, in the passes of the kernel generation: small pieces first, so that none takes long. */
export function* tdpMmuZapRoot(kvm: Kvm, root: number, shared: boolean): Task<void> {
  assertMmuLockMode(kvm, shared);
  const { rootLevel } = kvm.geometry;
  const single = kvm.bugs['zap-root-single-pass-stall'] === true;
  const passes = single ? (['root'] as const) : kvm.generation.rootZapPasses;
  yield* rcuReadLock(kvm.rcu, kvm.thread);
  for (const pass of passes) {
    const level = pass === 'root' ? rootLevel : pass;
    if (pass === 'root' || level < rootLevel) yield* zapRootAtLevel(kvm, root, level, shared);
  }
  yield* rcuReadUnlock(kvm.rcu, kvm.thread);
}

function* zapRootAtLevel(kvm: Kvm, root: number, zapLevel: Level, shared: boolean): Task<void> {
  const iter = new TdpIter(kvm.spte.nonpresent);
  const { nonpresent } = kvm.spte;
  const end = kvm.geometry.maxGfn;
  yield* tdpIterStart(kvm, iter, root, zapLevel, asGfn(0));
  for (; iter.inside(end); yield* tdpIterNext(kvm, iter)) {
    for (;;) {
      if (yield* tdpMmuIterCondResched(kvm, iter, false, shared)) break;
      if (!iterPresent(iter) || iter.level > zapLevel) break;
      if (!shared) {
        yield* iterSetSpte(kvm, iter, nonpresent);
        break;
      }
      if (yield* setSpteAtomic(kvm, iter, nonpresent, UpdateKind.zap)) break;
    }
  }
}
