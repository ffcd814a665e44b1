/**
 * The host drops, protects and ages ranges of guest memory while vCPUs fault it in (kernel: the MMU notifier under reclaim,
 * mprotect and madvise).
 */
import type { Task } from '../../machine/point.ts';
import { hostAge, hostDontneed } from '../../vm/host-operations.ts';
import { hostMprotect } from '../../vm/host-vma.ts';
import type { ProgramContext } from '../workload.ts';
import { memstressLayout, TEST_REGION } from './memstress-layout.ts';
import { pauseUntil } from './pause.ts';
import { createSlots } from './vmm.ts';

/** The main thread: makes the slots, and lets everybody begin. */
export function* notifierStormIoctl(context: ProgramContext): Task<void> {
  const { vm, control, options } = context;
  yield* createSlots(vm, options);
  yield* control.beginRound();
  yield* control.awaitRounds((options.vcpus as number) + (options.hosts as number));
  yield* control.stop();
}

/** A thread of the host: so many operations on ranges at random. */
export function* notifierStormHost(context: ProgramContext): Task<void> {
  const { vm, control, options, random } = context;
  const { thread } = vm;
  if ((yield* control.nextRound(0)) === 0) return;
  const region = vm.space.regions[TEST_REGION];
  const { pages } = memstressLayout(options);
  const length = Math.min(pages, options.rangePages as number);
  const weights = [options.unmap, options.protect, options.age] as number[];
  for (let i = 0; i < (options.iterations as number); i++) {
    yield* pauseUntil(thread, control, thread.now() + (options.delay as number) * 1000);
    if (yield* control.stopped()) return;
    const range = { first: random.below(pages - length + 1), pages: length };
    const operation = random.weighted(weights);
    const began = thread.now();
    if (operation === 0) {
      yield* hostDontneed(vm, region, range);
      context.phase('unmap', thread.now() - began);
    } else if (operation === 1) {
      yield* hostMprotect(vm, region, range, 'read');
      yield* hostMprotect(vm, region, range, 'read-write');
      context.phase('protect', thread.now() - began);
    } else {
      yield* hostAge(vm, region, range, 'clear_young');
      context.phase('age', thread.now() - began);
    }
  }
  yield* control.endRound();
}
