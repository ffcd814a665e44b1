/**
 * Step oracle: a walk that yields has moved on since it yielded last, or two of them may yield to each other for ever
 * (the forward-progress rule of tdp_mmu_iter_cond_resched).
 */
import { hex } from '../oracle.ts';
import type { StepOracle } from '../step-oracle.ts';

interface Walk {
  /** The furthest gfn whose SPTE it read, and how far that was when it yielded last. */
  furthest: number;
  atYield: number;
  /** Whether it is under way: it has read something since it began or restarted. */
  running: boolean;
}

export function walkProgressOracle(): StepOracle {
  const walks: Walk[] = [];
  const of = (thread: number): Walk => (walks[thread] ??= { furthest: -1, atYield: -1, running: false });
  return {
    name: 'walk-progress',
    help: 'a walk that yields has moved on since it yielded last',
    start() {
      walks.length = 0;
    },
    walkStarted(_world, thread) {
      walks[thread.id] = { furthest: -1, atYield: -1, running: false };
    },
    walkRestarted(_world, thread) {
      of(thread.id).running = true;
    },
    tableAccess(world, thread, _kind, page, sptep) {
      const walk = walks[thread.id];
      if (walk === undefined || !walk.running) return;
      const { level, gfn } = world.tables[page];
      const index = (sptep - world.kvm.allocator.tableOf(page)) >> 1;
      walk.furthest = Math.max(walk.furthest, gfn + index * world.kvm.geometry.span(level));
    },
    yielded(world, thread) {
      const walk = of(thread.id);
      if (!walk.running) return;
      walk.running = false;
      if (walk.furthest <= walk.atYield) {
        const message = `${thread.name} yields a second time at gfn ${hex(walk.furthest)}: its walk has not moved on`;
        world.fail(this, 'yield-without-progress', { thread: thread.id, gfn: walk.furthest }, message);
      }
      walk.atYield = walk.furthest;
    },
  };
}
