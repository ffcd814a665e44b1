/**
 * A worker whose programs misbehave: they throw, exit, hang and spin where real programs must not. Bundled with its coroutines
 * erased, as the product's workers are, so tasks are plain calls here.
 */

import type { EngineContext } from '../../../src/engines/plan.ts';
import { workerMain } from '../../../src/engines/threads/worker-main.ts';
import { Counter } from '../../../src/machine/counters.ts';
import { InvariantError } from '../../../src/machine/invariant.ts';
import * as points from '../../../src/machine/point.direct.ts';
import { own, type Task } from '../../../src/machine/point.ts';
import { mmuReadLock, mmuReadUnlock, mmuWriteLock, mmuWriteUnlock } from '../../../src/mmu/mmu-lock.ts';
import { Site } from '../../../src/mmu/site.ts';

/** The result of an erased task. */
const done = <T>(task: Task<T>): T => task as unknown as T;
const stopped = ({ vm, control }: EngineContext): boolean => vm.memory.load32(own(control)) !== 0;
/** Work that the watchdog counts. */
const work = ({ vm }: EngineContext): void => void vm.thread.counters[Counter.workDone]++;

const PROGRAMS: Readonly<Record<string, (context: EngineContext) => void>> = {
  /** Takes mmu_lock for read, and every 16th time for write, as often as the plan says. */
  lock(context) {
    const { vm, plan } = context;
    for (let i = 0; i < Number(plan.options.rounds); i++) {
      if (i % 16 === 15) {
        done(mmuWriteLock(vm.kvm, Site.kvm_zap_gfn_range));
        done(mmuWriteUnlock(vm.kvm));
      } else {
        done(mmuReadLock(vm.kvm, Site.kvm_tdp_page_fault));
        done(mmuReadUnlock(vm.kvm));
      }
      work(context);
    }
    context.phase('locking', 1000 + context.thread.index);
  },
  /** Works until it is told to stop. */
  work(context) {
    while (!stopped(context)) {
      done(mmuReadLock(context.vm.kvm, Site.kvm_tdp_page_fault));
      done(mmuReadUnlock(context.vm.kvm));
      work(context);
    }
  },
  /** Works on for as long as the plan says after it is told to stop. */
  linger(context) {
    const { vm, plan } = context;
    while (!stopped(context)) work(context);
    const end = vm.thread.now() + Number(plan.options.ns);
    while (vm.thread.now() < end) work(context);
  },
  /** Does nothing for as long as the plan says. */
  nap({ plan }) {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, Number(plan.options.ns) / 1e6);
  },
  break(context) {
    context.phase('before the break', 7);
    done(mmuWriteLock(context.vm.kvm, Site.kvm_zap_gfn_range));
    throw new InvariantError('test-rule', 'broken on purpose');
  },
  throw() {
    throw new TypeError('thrown on purpose');
  },
  exit(context) {
    context.phase('before the exit', 8);
    done(mmuReadLock(context.vm.kvm, Site.kvm_tdp_page_fault));
    process.exit(3);
  },
  /** Spins for ever while it holds mmu_lock. */
  hog(context) {
    done(mmuWriteLock(context.vm.kvm, Site.kvm_mmu_zap_all));
    for (;;) context.vm.memory.load32(own(context.control));
  },
  /** Sleeps for ever, and listens to nobody. */
  sleep() {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  },
  /** Spins in what counts as no progress. */
  livelock({ vm }) {
    for (;;) vm.thread.counters[Counter.flushRequests]++;
  },
  seed(context) {
    context.phase(`seed of ${context.thread.name}`, context.seed);
  },
  /** Asks whether its time slice is over, for the time in the plan. */
  slice({ vm, plan, phase }) {
    const end = vm.thread.now() + Number(plan.options.ns);
    let slices = 0;
    while (vm.thread.now() < end) if (vm.thread.needResched()) slices++;
    phase('slices', slices);
  },
};

function run(context: EngineContext): Task<void> {
  PROGRAMS[context.thread.program](context);
  return undefined as unknown as Task<void>;
}

export default workerMain(points, run);
