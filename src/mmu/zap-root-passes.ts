/**
 * Emptying one root (kernel: tdp_mmu_zap_root, __tdp_mmu_zap_root in tdp_mmu.c; until 5.17 zap_gfn_range over everything).
 *
 * Since 5.18 nothing is flushed for it: nobody runs on the root any more. Before, a root was a range like any other.
 */
import type { Task } from '../machine/point.ts';
import { rcuReadLock, rcuReadUnlock } from '../machine/rcu.ts';
import type { Kvm } from './kvm.ts';
import { asGfn, type Level } from './level.ts';
import { assertMmuLockMode } from './mmu-lock.ts';
import { roleAsId } from './mmu-page.ts';
import { IterMode } from './params.ts';
import { iterSetSpte, setSpteAtomic, UpdateKind, zapSpteAtomic } from './set-spte.ts';
import { isLastSpte } from './spte.ts';
import { iterPresent, TdpIter, tdpIterNext, tdpIterSkipNotPresent, tdpIterStart } from './tdp-iter.ts';
import { tdpMmuIterCondResched } from './tdp-iter-resched.ts';

/** Entries that a root zap may pass in one step with `IterMode.skip32`. */
const SKIP = 32;

export interface RootZap {
  /** Whether mmu_lock is held for read. */
  readonly shared: boolean;
  /** Whether mmu_lock may be dropped on the way: not where the root is on no list any more. */
  readonly canYield: boolean;
}

/**
 * Zaps everything below `root`, in the passes of the kernel generation: small pieces first, so that none takes long.
 *
 * @returns whether a flush is owed: only until 5.17, and only under the write lock
 */
export function* tdpMmuZapRoot(kvm: Kvm, root: number, shared: boolean, canYield = true): Task<boolean> {
  assertMmuLockMode(kvm, shared);
  const { rootLevel } = kvm.geometry;
  const single = kvm.bugs['zap-root-single-pass-stall'] === true;
  const passes = single ? (['root'] as const) : kvm.generation.rootZapPasses;
  let owed = false;
  yield* rcuReadLock(kvm.rcu, kvm.thread);
  for (const pass of passes) {
    const level = pass === 'root' ? rootLevel : pass;
    if (pass === 'root' || level < rootLevel) owed = yield* zapRootAtLevel(kvm, root, level, { shared, canYield });
  }
  yield* rcuReadUnlock(kvm.rcu, kvm.thread);
  return owed;
}

function* zapRootAtLevel(kvm: Kvm, root: number, zapLevel: Level, { shared, canYield }: RootZap): Task<boolean> {
  const iter = new TdpIter(kvm.spte.nonpresent);
  const { nonpresent } = kvm.spte;
  const { rootZapFlushes } = kvm.generation;
  const skip = kvm.params.iterMode === IterMode.skip32 ? SKIP : 0;
  const end = kvm.geometry.maxGfn;
  let owed = false;
  kvm.trace?.zapRootPass?.(roleAsId(kvm.pages.role(root)), zapLevel);
  yield* tdpIterStart(kvm, iter, root, zapLevel, asGfn(0));
  for (; iter.inside(end); yield* tdpIterNext(kvm, iter)) {
    for (;;) {
      if (canYield && (yield* tdpMmuIterCondResched(kvm, iter, owed, shared))) {
        owed = false;
        break;
      }
      if (!iterPresent(iter) && (skip === 0 || (yield* tdpIterSkipNotPresent(kvm, iter, skip)))) break;
      if (iter.level > zapLevel) break;
      // All of it goes, tables that reach beyond the last gfn included.
      const beyond = iter.gfn + kvm.geometry.span(iter.level) > end;
      if (beyond && !isLastSpte(iter.oldSpte, iter.level) && kvm.bugs['zap-all-range-not-covering-nonleaf'] === true) break;
      if (!shared) {
        yield* iterSetSpte(kvm, iter, nonpresent);
        owed = rootZapFlushes;
        break;
      }
      const zapped = rootZapFlushes
        ? yield* zapSpteAtomic(kvm, iter)
        : yield* setSpteAtomic(kvm, iter, nonpresent, UpdateKind.zap);
      if (zapped) break;
    }
  }
  return owed;
}
