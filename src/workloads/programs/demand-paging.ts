/**
 * A guest that touches memory which nobody has touched before: every access is a fault (kernel: demand_paging_test.c).
 */
import type { Task } from '../../machine/point.ts';
import { PAGE_BYTES } from '../size.ts';
import type { ProgramContext } from '../workload.ts';
import { guestPass } from './guest-pass.ts';
import { memstressLayout, vcpuPages } from './memstress-layout.ts';
import { createSlots } from './vmm.ts';

export function* demandPagingVcpu(context: ProgramContext): Task<void> {
  const { vm, control, options, index, random } = context;
  if ((yield* control.nextRound(0)) === 0) return;
  const pages = vcpuPages(memstressLayout(options), options, index);
  const began = vm.thread.now();
  const stride = (options.stride as number) / PAGE_BYTES;
  if (!(yield* guestPass(context.vcpu!, control, { ...pages, stride, writePercent: 100, randomAccess: false, random }))) return;
  context.phase('vcpu', vm.thread.now() - began);
  yield* control.endRound();
}

export function* demandPagingIoctl(context: ProgramContext): Task<void> {
  const { vm, control, options } = context;
  yield* createSlots(vm, options);
  const began = vm.thread.now();
  yield* control.beginRound();
  if (yield* control.awaitRounds(options.vcpus as number)) context.phase('execution', vm.thread.now() - began);
  yield* control.stop();
}
