/**
 * Step oracle, for cost: whoever flushes all TLBs under mmu_lock has changed something since its last flush. It stops every vCPU,
 * and nobody else needs it: what others changed they flush themselves. Aging flushes to see accesses, and is left out.
 */
import { LockNumber } from '../../machine/lock-number.ts';
import { andNot64, equal64, ZERO64 } from '../../machine/word64.ts';
import { PG_LEVEL_4K } from '../../mmu/level.ts';
import { Site } from '../../mmu/site.ts';
import { isShadowPresent } from '../../mmu/spte.ts';
import type { StepOracle } from '../step-oracle.ts';

/** Where a flush makes sure that pages that were made old look so. */
const AGING: ReadonlySet<number> = new Set([Site.kvm_mmu_notifier_clear_flush_young, Site.kvm_mmu_notifier_change_pte]);

export function needlessFlushOracle(): StepOracle {
  /** For each thread whether it has changed anything that a flush makes known. */
  const changed: boolean[] = [];
  return {
    name: 'needless-flush',
    help: 'nobody flushes all TLBs under mmu_lock without having changed something',
    start() {
      changed.length = 0;
    },
    spte(_world, { thread, old, next }) {
      // What only adds rights, or A and D, needs no flush.
      if (isShadowPresent(old) && !equal64(andNot64(old, next), ZERO64)) changed[thread.id] = true;
    },
    tableRemoved(_world, thread) {
      changed[thread.id] = true;
    },
    writeProtected(_world, thread, _gfn, minLevel) {
      if (minLevel === PG_LEVEL_4K) changed[thread.id] = true;
    },
    operation(world, thread, name) {
      if (name !== 'flush_all' || thread.mmuLockSite < 0 || AGING.has(thread.mmuLockSite) || changed[thread.id]) return;
      const message = `${thread.name} flushes all TLBs, but has changed nothing since its last flush`;
      world.fail(this, 'needless-flush', { thread: thread.id }, message);
    },
    flushDone(world, thread) {
      // Until 5.17 the removal of a table flushed its range, and its caller everything once more.
      if (!world.kvm.generation.tableRemovalFlushes) changed[thread.id] = false;
    },
    lockReleased(_world, thread, lock) {
      if (lock === LockNumber.mmuLock) changed[thread.id] = false;
    },
  };
}
