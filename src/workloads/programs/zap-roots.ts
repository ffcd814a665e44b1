/**
 * All roots are made obsolete and zapped, again and again, while vCPUs fault their memory in (kernel: kvm_mmu_zap_all_fast, as
 * deleting a memslot, toggling nx_huge_pages and APIC changes call it).
 */
import { mutexLock, mutexUnlock } from '../../machine/mutex.ts';
import type { Task } from '../../machine/point.ts';
import { Site } from '../../mmu/site.ts';
import { kvmMmuZapAllFast } from '../../mmu/zap-all.ts';
import type { ProgramContext } from '../workload.ts';
import { pauseUntil } from './pause.ts';
import { createSlots } from './vmm.ts';

export function* zapRoots(context: ProgramContext): Task<void> {
  const { vm, control, options } = context;
  const { kvm, thread } = vm;
  yield* createSlots(vm, options);
  yield* control.beginRound();
  if (!(yield* control.awaitRounds(options.vcpus as number))) return;
  for (let i = 0; i < (options.iterations as number); i++) {
    yield* pauseUntil(thread, control, thread.now() + (options.delay as number) * 1000);
    if (yield* control.stopped()) break;
    const began = thread.now();
    yield* mutexLock(kvm.slotsLock, thread, Site.user);
    yield* kvmMmuZapAllFast(kvm);
    yield* mutexUnlock(kvm.slotsLock, thread);
    context.phase('zap', thread.now() - began);
  }
  yield* control.stop();
}
