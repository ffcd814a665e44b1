/** Handing roots to the worker that zaps them (kernel, 5.18 to 6.5: tdp_mmu_schedule_zap_root in tdp_mmu.c). */
import { invariant } from '../machine/invariant.ts';
import type { Task } from '../machine/point.ts';
import { queueWork } from '../machine/workqueue.ts';
import type { Kvm } from './kvm.ts';

/** The only kind of item on tdp_mmu_zap_wq. */
const ZAP_ROOT_WORK = 1;

/** Queues an invalid root, and with it a reference that the worker puts. Never waits. */
export function* scheduleZapRoot(kvm: Kvm, root: number): Task<void> {
  const queued = yield* queueWork(kvm.zapQueue, kvm.thread, ZAP_ROOT_WORK, root);
  invariant(queued, 'zap-queue-full', `root ${root} found no place on tdp_mmu_zap_wq`);
}
