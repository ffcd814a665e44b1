/**
 * Step oracle, for cost: walks let others have a turn. A walk that may yield looks whether it should at least once for every few
 * entries, and changes one table at most in between; a harvest ends with the last page that it was asked for. These are the
 * latency bugs: nothing breaks but time.
 */
import { LockNumber } from '../../machine/lock-number.ts';
import { MmuCounter } from '../../mmu/counters.ts';
import type { Kvm } from '../../mmu/kvm.ts';
import { asGfn, PG_LEVEL_4K } from '../../mmu/level.ts';
import { Site } from '../../mmu/site.ts';
import { leafBelow } from '../cached-translations.ts';
import { hex } from '../oracle.ts';
import type { StepOracle } from '../step-oracle.ts';
import type { StepWorld } from '../step-world.ts';
import type { ThreadView } from '../thread-view.ts';

/** Entries that a walk may pass between two looks: stepping down or up passes a few. */
const STEPS_BETWEEN_LOOKS = 6;

/** Where mmu_lock is taken for walks that may yield. */
const YIELDING: ReadonlySet<number> = new Set([
  Site.kvm_zap_gfn_range,
  Site.kvm_tdp_mmu_zap_invalidated_roots,
  Site.kvm_mmu_slot_remove_write_access,
  Site.kvm_mmu_slot_leaf_clear_dirty,
  Site.kvm_tdp_mmu_try_split_huge_pages,
  Site.kvm_mmu_zap_collapsible_sptes,
  Site.kvm_mmu_notifier_invalidate_range_start,
]);

/** Looks of a walk from one start or restart to the next: one for each entry that there is, and some for lost exchanges. */
const looksMax = ({ kvm, vm }: StepWorld): number => kvm.geometry.entries * vm.config.tablePages + 60;

/** Restarts towards one goal: a split that went to allocate memory comes back to where it was. */
const SAME_GOAL = 2;

/** Pages of 4K of a harvest's word. */
const WORD_PAGES = 64;

/**
 * Steps that a harvest's walk may take: it has visited every page of the mask, and stops at the next leaf behind the last. A page
 * that is not mapped at 4K is never visited, and then the walk goes on to the end of the word.
 */
function harvestSteps(kvm: Kvm, root: number, mask: bigint, gfn: number): number {
  const { geometry } = kvm;
  const mapped = (i: number): boolean => leafBelow(kvm, root, asGfn(gfn + i))?.level === PG_LEVEL_4K;
  let last = 0;
  for (let i = 0; mask >> BigInt(i) !== 0n; i++) {
    if (((mask >> BigInt(i)) & 1n) === 0n) continue;
    if (!mapped(i)) return Infinity;
    last = i;
  }
  let end = last + 1;
  while (end < WORD_PAGES && leafBelow(kvm, root, asGfn(gfn + end)) === null) end++;
  // Behind the last page it may still step out of all tables, and look at the next entry.
  let steps = end + geometry.entries + 2 * geometry.rootLevel;
  for (let level = 2; level <= geometry.rootLevel; level++) {
    const span = geometry.span(level);
    steps += 2 * (Math.floor((gfn + end - 1) / span) - Math.floor(gfn / span) + 1);
  }
  return steps;
}

class Progress {
  /** Where the walk was heading when it last started or restarted, and how often it did so for that. */
  goal = -1;
  restarts = 0;
  /** What a harvest that begins was asked for. */
  mask = 0n;
  maskGfn = 0;
  /** iter_steps at which the walk of a harvest must be over, 0 where none is under way. */
  stepsMax = 0;
  looksInRow = 0;
  /** iter_steps and SPTE changes when the walk last looked whether to yield. */
  steps = 0;
  looks = 0;
  changes = 0;
  yielding = false;
}

export function walkCostOracle(): StepOracle {
  const threads: Progress[] = [];
  const of = (thread: ThreadView): Progress => (threads[thread.id] ??= new Progress());

  const look = (thread: ThreadView, progress: Progress): void => {
    const { counters } = thread.vm.kvm;
    progress.looks = counters[MmuCounter.resched_tests];
    progress.steps = counters[MmuCounter.iter_steps];
    progress.changes = 0;
  };

  /** Looks at how far the walk went since its last look, and notes whether it has looked again. */
  const check = (world: StepWorld, thread: ThreadView, progress: Progress): void => {
    const { counters } = thread.vm.kvm;
    const steps = counters[MmuCounter.iter_steps];
    if (counters[MmuCounter.resched_tests] !== progress.looks) {
      if (++progress.looksInRow > looksMax(world)) {
        const message = `a walk of ${thread.name} looks at the same SPTEs again and again`;
        world.fail(oracle, 'walk-without-progress', { thread: thread.id }, message);
      }
      look(thread, progress);
    } else if (steps - progress.steps > STEPS_BETWEEN_LOOKS) {
      const passed = steps - progress.steps;
      const message = `${thread.name} passes ${passed} SPTEs without a look whether somebody waits for mmu_lock`;
      world.fail(oracle, 'no-yield-test', { thread: thread.id }, message);
    }
  };

  const oracle: StepOracle = {
    name: 'walk-cost',
    help: 'walks look whether others wait every few entries, and end where they were to end',
    start() {
      threads.length = 0;
    },
    lockAcquired(_world, thread, lock, _mode, site) {
      if (lock !== LockNumber.mmuLock) return;
      const progress = of(thread);
      // After a yield the lock is taken at another site, by the same walk.
      if (site !== Site.tdp_mmu_iter_cond_resched) progress.yielding = YIELDING.has(site);
      progress.stepsMax = 0;
      look(thread, progress);
    },
    walkStarted(world, thread, root) {
      const progress = of(thread);
      progress.goal = -1;
      if (progress.mask !== 0n) {
        const steps = harvestSteps(world.kvm, root, progress.mask, progress.maskGfn);
        progress.stepsMax = thread.vm.kvm.counters[MmuCounter.iter_steps] + steps;
        progress.mask = 0n;
      }
      look(thread, progress);
    },
    walkRestarted(world, thread, goal) {
      const progress = of(thread);
      progress.looksInRow = 0;
      progress.restarts = goal === progress.goal ? progress.restarts + 1 : 0;
      progress.goal = goal;
      if (progress.restarts <= SAME_GOAL) return;
      const message = `a walk of ${thread.name} has yielded again and again at gfn ${hex(goal)}`;
      world.fail(oracle, 'walk-without-progress', { thread: thread.id, gfn: goal }, message);
    },
    step(world, thread) {
      if (thread.mmuLockSite < 0) return;
      const progress = threads[thread.id];
      if (progress === undefined) return;
      if (progress.yielding) check(world, thread, progress);
      if (progress.stepsMax > 0 && thread.vm.kvm.counters[MmuCounter.iter_steps] > progress.stepsMax) {
        const message = `${thread.name} walks on after the last page that the log asked for`;
        world.fail(oracle, 'needless-steps', { thread: thread.id }, message);
      }
    },
    maskedWalk(_world, thread, mask, gfn) {
      const progress = of(thread);
      progress.mask = mask;
      progress.maskGfn = gfn;
    },
    spteChanged(world, thread) {
      const progress = of(thread);
      progress.changes++;
      const { generation, geometry } = world.kvm;
      if (!progress.yielding || generation.rootZapPasses.length <= 2 || progress.changes <= geometry.entries + 1) return;
      const message = `${thread.name} changes ${progress.changes} SPTEs without a look whether others wait`;
      world.fail(oracle, 'long-removal', { thread: thread.id }, message);
    },
  };
  return oracle;
}
