/**
 * A slot is added and deleted while vCPUs use others (kernel: memslot_modification_stress_test.c).
 *
 * Deleting a slot zaps all roots (unless the quirk is off), so the vCPUs have to fault everything in again each time.
 */
import type { Task } from '../../machine/point.ts';
import { PAGE_BYTES } from '../size.ts';
import type { ProgramContext } from '../workload.ts';
import { guestPass } from './guest-pass.ts';
import { CODE_REGION, memstressLayout, vcpuPages } from './memstress-layout.ts';
import { pauseUntil } from './pause.ts';
import { createSlots, setRegion } from './vmm.ts';

/** The slot that comes and goes: one page below test memory. */
export const DUMMY_SLOT = 7;

/** Passes over its memory until the run is stopped. Its first access is told, so that there is somebody to disturb. */
export function* stressVcpu(context: ProgramContext): Task<void> {
  const { control, options, index, random } = context;
  if ((yield* control.nextRound(0)) === 0) return;
  const pages = vcpuPages(memstressLayout(options), options, index);
  const stride = ((options.stride as number | undefined) ?? PAGE_BYTES) / PAGE_BYTES;
  const pass = { ...pages, stride, writePercent: 100, randomAccess: options.randomAccess === true, random, mayFault: true };
  yield* guestPass(context.vcpu!, control, { ...pass, count: 1 });
  yield* control.endRound();
  while (yield* guestPass(context.vcpu!, control, pass));
}

export function* memslotModificationIoctl(context: ProgramContext): Task<void> {
  const { vm, control, options } = context;
  const { thread } = vm;
  yield* createSlots(vm, options);
  const dummy = { slot: DUMMY_SLOT, baseGfn: memstressLayout(options).baseGfn - 1, pages: 1, region: CODE_REGION };
  yield* control.beginRound();
  if (!(yield* control.awaitRounds(options.vcpus as number))) return;
  for (let i = 0; i < (options.iterations as number); i++) {
    yield* pauseUntil(thread, control, thread.now() + (options.delay as number) * 1000);
    if (yield* control.stopped()) break;
    const began = thread.now();
    yield* setRegion(vm, dummy);
    const added = thread.now();
    context.phase('add', added - began);
    yield* setRegion(vm, { ...dummy, pages: 0 });
    context.phase('delete', thread.now() - added);
  }
  yield* control.stop();
}
