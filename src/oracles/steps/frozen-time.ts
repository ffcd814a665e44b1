/**
 * Step oracle, for cost: an SPTE stays frozen no longer than the flush takes. Whoever froze it does not walk or change page tables
 * in the meantime (since 6.10, when the bookkeeping moved behind the frozen window), because all that time faults on it retry.
 */
import { hex } from '../oracle.ts';
import type { StepOracle } from '../step-oracle.ts';
import { TableStatus } from '../table-info.ts';

/** Table accesses that the owner of a frozen SPTE may make before it replaces it: the replacement itself. */
const ACCESSES_MAX = 1;

export function frozenTimeOracle(): StepOracle {
  /** What each thread has frozen in a linked table, and the accesses to tables that it has made since. */
  const frozen = new Map<number, { readonly sptep: number; readonly gfn: number; accesses: number }>();
  return {
    name: 'frozen-time',
    help: 'whoever freezes an SPTE replaces it before it does anything else with page tables',
    start() {
      frozen.clear();
    },
    tableAccess(world, thread, _kind, page, sptep) {
      if (frozen.size === 0) return;
      const mine = frozen.get(thread.id);
      if (mine === undefined || !world.kvm.generation.bookkeepingAfterFrozen || ++mine.accesses <= ACCESSES_MAX) return;
      const message = `${thread.name} works on page ${page} while the SPTE of gfn ${hex(mine.gfn)}, which it froze, makes faults retry`;
      world.fail(this, 'frozen-too-long', { thread: thread.id, gfn: mine.gfn, page, word: sptep }, message);
    },
    spte(world, { thread, table, sptep, gfn, old, next }) {
      const { spte } = world.kvm;
      if (spte.isFrozen(old) && frozen.get(thread.id)?.sptep === sptep) frozen.delete(thread.id);
      if (spte.isFrozen(next) && table.status === TableStatus.linked) frozen.set(thread.id, { sptep, gfn, accesses: 0 });
    },
    end(world) {
      for (const [thread, { sptep, gfn }] of frozen) {
        const message = `${world.threads[thread].name} has ended, and the SPTE of gfn ${hex(gfn)} is still frozen`;
        world.fail(this, 'never-thawed', { thread, gfn, word: sptep }, message);
      }
    },
  };
}
