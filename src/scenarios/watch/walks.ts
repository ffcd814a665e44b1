/**
 * Rule: walks get on. Between two yields of one walk the goal moves, but for one that went to allocate memory; a walk
 * that may yield looks whether it should at least once for every few entries, and changes one table at most in between; an
 * SPTE stays frozen no longer than its own change takes. These are the latency bugs: nothing breaks but time.
 */
import { own } from '../../machine/point.ts';
import { MmuCounter } from '../../mmu/counters.ts';
import type { Gfn } from '../../mmu/level.ts';
import { PageHeader, roleInvalid } from '../../mmu/mmu-page.ts';
import { Site } from '../../mmu/site.ts';
import { breakRule, hex, type StepRule, type WatchedThread } from './step-rule.ts';

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

/** Walks for the benefit of running vCPUs: nobody runs on an invalid root. */
const FOR_RUNNING_VCPUS: ReadonlySet<number> = new Set([
  Site.kvm_zap_gfn_range,
  Site.kvm_mmu_slot_remove_write_access,
  Site.kvm_mmu_slot_leaf_clear_dirty,
  Site.kvm_tdp_mmu_try_split_huge_pages,
  Site.kvm_mmu_zap_collapsible_sptes,
  Site.kvm_get_dirty_log_protect,
  Site.kvm_clear_dirty_log_protect,
]);

/** Looks of a walk from one start or restart to the next: one for each entry that there is, and some for lost exchanges. */
const looksMax = ({ vm }: WatchedThread): number => vm.kvm.geometry.entries * vm.config.tablePages + 60;

/** Restarts towards one goal: a split that went to allocate memory comes back to where it was. */
const SAME_GOAL = 2;

class Progress {
  /** Where the walk was heading when it last started or restarted, and how often it did so for that. */
  goal = -1;
  restarts = 0;
  /** iter_steps at which the walk of a harvest must be over, 0 where none is under way. */
  stepsMax = 0;
  looksInRow = 0;
  /** iter_steps and SPTE changes when the walk last looked whether to yield. */
  steps = 0;
  looks = 0;
  changes = 0;
  /** Changes since an SPTE was frozen, -1 while none is. */
  frozenChanges = -1;
  yielding = false;
  /** Where mmu_lock was taken for the walk. */
  site = -1;
}

export class Walks implements StepRule {
  readonly name = 'walks';
  readonly #threads: Progress[] = [];

  reset(): void {
    this.#threads.length = 0;
  }

  #of(thread: WatchedThread): Progress {
    return (this.#threads[thread.id] ??= new Progress());
  }

  mmuLocked(thread: WatchedThread, _mode: number, site: number): void {
    const progress = this.#of(thread);
    // After a yield the lock is taken at another site, by the same walk.
    if (site !== Site.tdp_mmu_iter_cond_resched) {
      progress.yielding = YIELDING.has(site);
      progress.site = site;
    }
    progress.stepsMax = 0;
    this.#look(thread, progress);
  }

  walkStarted(thread: WatchedThread, root: number): void {
    const progress = this.#of(thread);
    const { memory, pages } = thread.vm.kvm;
    const role = memory.load32(own(pages.word(root, PageHeader.role)));
    if (roleInvalid(role) && FOR_RUNNING_VCPUS.has(progress.site)) {
      breakRule('invalid-root-walked', `${thread.name} walks root ${root} for the sake of vCPUs, but it is invalid`);
    }
    progress.goal = -1;
    this.#look(thread, progress);
  }

  walkRestarted(thread: WatchedThread, goal: Gfn): void {
    const progress = this.#of(thread);
    progress.looksInRow = 0;
    progress.restarts = goal === progress.goal ? progress.restarts + 1 : 0;
    progress.goal = goal;
    if (progress.restarts <= SAME_GOAL) return;
    breakRule('walk-without-progress', `a walk of ${thread.name} has yielded again and again at gfn ${hex(goal)}`);
  }

  step(thread: WatchedThread): void {
    const progress = this.#threads[thread.id];
    if (progress === undefined || thread.mmuLockSite < 0) return;
    if (progress.yielding) this.#check(thread, progress);
    if (progress.stepsMax > 0 && thread.vm.kvm.counters[MmuCounter.iter_steps] > progress.stepsMax) {
      breakRule('needless-steps', `${thread.name} walks on after the last page that the log asked for`);
    }
  }

  /** The walk ends with the last page of the mask: it passes that many entries, and a few above them. */
  maskedWalk(thread: WatchedThread, mask: bigint): void {
    const { counters, geometry } = thread.vm.kvm;
    const pages = mask.toString(2).length;
    const tables = Math.ceil(pages / geometry.entries) + geometry.rootLevel;
    this.#of(thread).stepsMax = counters[MmuCounter.iter_steps] + pages + 2 * tables + geometry.entries;
  }

  spteChanged(thread: WatchedThread): void {
    const progress = this.#of(thread);
    progress.changes++;
    if (progress.frozenChanges >= 0) progress.frozenChanges++;
    const { kvm } = thread.vm;
    const fine = kvm.generation.rootZapPasses.length > 2;
    if (progress.yielding && fine && progress.changes > kvm.geometry.entries + 1) {
      breakRule('long-removal', `${thread.name} changes ${progress.changes} SPTEs without a look whether others wait`);
    }
    if (kvm.generation.bookkeepingAfterFrozen && progress.frozenChanges > 1) {
      breakRule('frozen-too-long', `${thread.name} takes a table apart while the SPTE that linked it is still frozen`);
    }
  }

  frozen(thread: WatchedThread): void {
    this.#of(thread).frozenChanges = 0;
  }

  thawed(thread: WatchedThread): void {
    this.#of(thread).frozenChanges = -1;
  }

  /** Looks at how far the walk went since its last look, and notes whether it has looked again. */
  #check(thread: WatchedThread, progress: Progress): void {
    if (!progress.yielding) return;
    const { counters } = thread.vm.kvm;
    const steps = counters[MmuCounter.iter_steps];
    if (counters[MmuCounter.resched_tests] !== progress.looks) {
      if (++progress.looksInRow > looksMax(thread)) {
        breakRule('walk-without-progress', `a walk of ${thread.name} looks at the same SPTEs again and again`);
      }
      this.#look(thread, progress);
    } else if (steps - progress.steps > STEPS_BETWEEN_LOOKS) {
      const passed = steps - progress.steps;
      breakRule('no-yield-test', `${thread.name} passes ${passed} SPTEs without a look whether somebody waits for mmu_lock`);
    }
  }

  #look(thread: WatchedThread, progress: Progress): void {
    const { counters } = thread.vm.kvm;
    progress.looks = counters[MmuCounter.resched_tests];
    progress.steps = counters[MmuCounter.iter_steps];
    progress.changes = 0;
  }
}
