/**
 * Dirty logging is switched on and off while vCPUs go on reading and writing: huge pages are split, by eager page splitting or
 * by the faults of writers, and come back when logging ends (kernel: kvm_mmu_recover_huge_pages and
 * kvm_mmu_zap_collapsible_sptes in arch/x86/kvm/mmu/mmu.c; disabling under load is what -e of dirty_log_perf_test.c asks for).
 *
 * After each round the vCPUs touch every page once more, and then the guest must be back on the largest pages that slot and
 * host allow.
 */
import { Counter } from '../../machine/counters.ts';
import type { Task } from '../../machine/point.ts';
import { MmuCounter } from '../../mmu/counters.ts';
import { SlotFlag } from '../../mmu/memslot.ts';
import { VmStat, vmStat } from '../../mmu/vm-stat.ts';
import type { Vm } from '../../vm/vm.ts';
import type { ProgramContext } from '../workload.ts';
import { guestPass } from './guest-pass.ts';
import { checkOnHugePages } from './mapping-levels.ts';
import { memstressLayout, vcpuPages } from './memstress-layout.ts';
import { pauseUntil } from './pause.ts';
import { Rounds } from './rounds.ts';
import { clearLog, createSlots, getLog, sendPages, setRegion, testSlots } from './vmm.ts';

/** Accesses of one run of a vCPU under load: it looks for the end of the load after each. */
const ACCESSES = 256;

/** Populates its memory; then by turns works under load until the flag goes, and touches every page once. */
export function* collapseVcpu(context: ProgramContext): Task<void> {
  const { vm, control, options, index, random } = context;
  const { counters } = vm.thread;
  const vcpu = context.vcpu!;
  const pages = vcpuPages(memstressLayout(options), options, index);
  const inOrder = { ...pages, writePercent: options.writePercent as number, randomAccess: false, random };
  const load = { ...inOrder, randomAccess: options.randomAccess === true, accesses: ACCESSES };
  let from = 0;
  for (let round = 0; ; ) {
    round = yield* control.nextRound(round);
    if (round === 0) return;
    const before = counters[MmuCounter.pf_taken];
    if (round % 2 === 0) {
      do {
        if (!(yield* guestPass(vcpu, control, { ...load, from }))) return;
        from = (from + ACCESSES) % pages.count;
      } while (yield* control.flag());
      context.tally('faults under load', counters[MmuCounter.pf_taken] - before);
    } else {
      if (!(yield* guestPass(vcpu, control, { ...inOrder, writePercent: round === 1 ? 100 : inOrder.writePercent }))) return;
      if (round > 1) context.tally('faults at rest', counters[MmuCounter.pf_taken] - before);
    }
    yield* control.endRound();
  }
}

/** Huge pages that are mapped now: a number that nobody decides on. */
const hugePages = ({ kvm }: Vm): number => vmStat(kvm, VmStat.pages2m) + vmStat(kvm, VmStat.pages1g);

export function* collapseIoctl(context: ProgramContext): Task<void> {
  const { vm, control, options } = context;
  const { thread } = vm;
  const slots = testSlots(options);
  const manual = vm.kvm.params.manualProtect;
  yield* createSlots(vm, options);
  const rounds = new Rounds(context);
  function* harvest(): Task<void> {
    for (const slot of slots) {
      const bitmap = yield* getLog(vm, slot);
      if (manual) yield* clearLog(vm, slot, bitmap);
      yield* sendPages(vm, null, slot, bitmap);
    }
  }
  const delay = (): Task<void> => pauseUntil(thread, control, thread.now() + (options.delay as number) * 1000);

  if (!(yield* rounds.run())) return;
  rounds.ended('populate');
  for (let i = 0; i < (options.iterations as number); i++) {
    context.tally('huge before', hugePages(vm));
    yield* control.setFlag(true);
    yield* rounds.begin();
    yield* delay();
    rounds.restartClock();
    for (const slot of slots) yield* setRegion(vm, { ...slot, flags: SlotFlag.logDirty });
    rounds.ended('enable');
    for (let harvests = 0; harvests < (options.harvests as number); harvests++) {
      yield* delay();
      rounds.restartClock();
      yield* harvest();
      rounds.ended('harvest');
    }
    yield* delay();
    context.tally('huge while logging', hugePages(vm));
    const flushes = thread.counters[Counter.flushRequests];
    rounds.restartClock();
    for (const slot of slots) yield* setRegion(vm, slot);
    rounds.ended('disable');
    context.tally('flushes while disabling', thread.counters[Counter.flushRequests] - flushes);
    context.tally('huge after', hugePages(vm));
    yield* control.setFlag(false);
    if (!(yield* rounds.await())) return;
    rounds.restartClock();
    if (!(yield* rounds.run())) return;
    rounds.ended('refault');
    context.tally('huge at rest', hugePages(vm));
    for (const slot of slots) yield* checkOnHugePages(vm, slot.slot);
    yield* control.checkpoint();
    if (yield* control.stopped()) return;
  }
  yield* control.stop();
}
