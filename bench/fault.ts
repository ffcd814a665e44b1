/**
 * What a 4K demand fault costs, on one vCPU and on several, with mmu_lock as a reader-writer lock and as a spinlock. Compare a C
 * program doing the bare work (an atomic add, a walk, two cmpxchg, an atomic subtract): 28 ns on this class of machine.
 */
import { perSecond, print } from './programs/bench-run.ts';
import { faultRun } from './programs/fault-run.ts';

const PAGES = 1_000_000;

console.log('Demand faults of 4K');
for (const lock of ['rwlock', 'spinlock'] as const) {
  for (const vcpus of [1, 2, 4]) {
    const { faults, ns } = await faultRun({ vcpus, lock, measure: false, pages: PAGES });
    const each = `${((ns * vcpus) / faults).toFixed(0).padStart(6)} ns of a vCPU each`;
    print(`${vcpus} vCPU${vcpus > 1 ? 's' : ''}, ${lock}`, perSecond(faults, ns, 'faults'), each);
  }
}
