/** The thread of the worker that zaps invalidated roots, in the kernels that have one (kernel: a kworker of tdp_mmu_zap_wq). */
import { read, type Task, wait } from '../../machine/point.ts';
import { zapQueuedRoot } from '../../mmu/zap-worker.ts';
import type { ProgramContext } from '../workload.ts';

/** Serves the queue until the run is stopped and nothing is left in it. Who ends a run wakes it. */
export function* zapWorker({ vm, control }: ProgramContext): Task<void> {
  const { kvm, memory } = vm;
  const { events } = kvm.zapQueue;
  for (;;) {
    const seen = memory.load32(yield read(events));
    if (yield* zapQueuedRoot(kvm)) continue;
    if (yield* control.stopped()) return;
    yield wait(events, seen);
  }
}
