/**
 * The worker that zaps invalidated and defunct roots (kernel, 5.18 to 6.5: tdp_mmu_zap_root_work on kvm->arch.tdp_mmu_zap_wq).
 *
 * It holds mmu_lock for read and yields, so faults and other zaps go on beside it; whoever needs the roots gone flushes the
 * queue. A VM that has no thread for the worker (`KvmConfig.zapWorker`) lets the one who waits do the work, in the same
 * order: as if the worker ran while he waits.
 */
import type { Task } from '../machine/point.ts';
import { finishWork, flushWorkqueue, nextWork, takeWork, type WorkItem } from '../machine/workqueue.ts';
import type { Kvm } from './kvm.ts';
import { mmuReadLock, mmuReadUnlock } from './mmu-lock.ts';
import { kvmTdpMmuPutRoot } from './roots.ts';
import { Site } from './site.ts';
import { tdpMmuZapRoot } from './zap-root-passes.ts';

/** Zaps one queued root and puts the reference that came with it. */
function* zapRootWork(kvm: Kvm, item: WorkItem): Task<void> {
  const root = item.argument;
  yield* mmuReadLock(kvm, Site.tdp_mmu_zap_root_work);
  yield* tdpMmuZapRoot(kvm, root, true);
  // Writers that found the root meanwhile may hold references still: who puts the last one frees it, and it is empty now.
  yield* kvmTdpMmuPutRoot(kvm, root);
  yield* mmuReadUnlock(kvm);
  yield* finishWork(kvm.zapQueue, kvm.thread, item);
}

/** Zaps the next queued root that nobody has taken; whether there was one. */
export function* zapQueuedRoot(kvm: Kvm): Task<boolean> {
  const item = yield* takeWork(kvm.zapQueue, kvm.thread);
  if (item !== null) yield* zapRootWork(kvm, item);
  return item !== null;
}

/** The program of a worker thread: serves the queue until it is stopped. */
export function* tdpMmuZapWorker(kvm: Kvm): Task<void> {
  for (;;) {
    const item = yield* nextWork(kvm.zapQueue, kvm.thread);
    if (item === null) return;
    yield* zapRootWork(kvm, item);
  }
}

/** Waits until all roots queued so far are zapped (flush_workqueue). The caller holds no mmu_lock. */
export function* flushZapWork(kvm: Kvm): Task<void> {
  if (kvm.bugs['fast-zap-blocked-by-async-worker'] === true && kvm.config.zapWorker === true) return;
  if (kvm.config.zapWorker !== true) while (yield* zapQueuedRoot(kvm));
  yield* flushWorkqueue(kvm.zapQueue, kvm.thread);
}
