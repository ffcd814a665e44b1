/**
 * Guests execute, read and write huge pages that must not be executable, while the recovery thread gives split ones back
 * (kernel: kvm_nx_huge_page_recovery_worker in arch/x86/kvm/mmu/mmu.c).
 */
import type { Task } from '../../machine/point.ts';
import { asGfn } from '../../mmu/level.ts';
import { kvmRecoverNxHugePages } from '../../mmu/nx-recovery.ts';
import { guestAccess, guestIoExit } from '../../vm/guest.ts';
import { AccessKind } from '../../vm/page-walker.ts';
import { GuestResult } from '../../vm/vcpu.ts';
import type { ProgramContext } from '../workload.ts';
import { accessFailed } from './guest-pass.ts';
import { memstressLayout, vcpuPages } from './memstress-layout.ts';
import { pauseUntil } from './pause.ts';
import { createSlots } from './vmm.ts';

/** Accesses of one run of a vCPU. */
const ACCESSES = 256;
const KINDS = [AccessKind.read, AccessKind.write] as const;

/** Accesses its memory at random until the run is stopped, and executes a share of what it accesses. */
export function* executeVcpu(context: ProgramContext): Task<void> {
  const { control, options, index, random } = context;
  if ((yield* control.nextRound(0)) === 0) return;
  const { first, count } = vcpuPages(memstressLayout(options), options, index);
  const vcpu = context.vcpu!;
  for (let run = 0; !(yield* control.stopped()); run++) {
    for (let i = 0; i < ACCESSES; i++) {
      const kind = random.chance(options.executePercent as number) ? AccessKind.exec : KINDS[random.below(KINDS.length)];
      const gfn = asGfn(first + random.below(count));
      const result = yield* guestAccess(vcpu, gfn, kind);
      if (result > GuestResult.mmio) throw accessFailed(gfn, result);
    }
    yield* guestIoExit(vcpu);
    if (run === 0) yield* control.endRound();
  }
}

/** The main thread, which becomes the recovery thread: one look at the list of split pages a period. */
export function* recoverPeriodically(context: ProgramContext): Task<void> {
  const { vm, control, options } = context;
  const { kvm, thread } = vm;
  yield* createSlots(vm, options);
  yield* control.beginRound();
  if (!(yield* control.awaitRounds(options.vcpus as number))) return;
  for (let i = 0; i < (options.iterations as number); i++) {
    yield* pauseUntil(thread, control, thread.now() + (options.delay as number) * 1000);
    if (yield* control.stopped()) break;
    const began = thread.now();
    yield* kvmRecoverNxHugePages(kvm);
    context.phase('recover', thread.now() - began);
  }
  yield* control.stop();
}
