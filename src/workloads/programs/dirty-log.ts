/**
 * A guest that dirties its memory while user space harvests the dirty log (kernel: dirty_log_perf_test.c).
 *
 * As there, vCPUs rest while the log is read and cleared, so that each phase can be timed on its own; with `-e` they run while
 * logging is being disabled. `--live` is not the selftest's: vCPUs go on writing while the log is read and cleared, as under a
 * live migration, and rest after it for one more harvest, which shows whether anything was lost.
 */
import type { Task } from '../../machine/point.ts';
import { SlotFlag } from '../../mmu/memslot.ts';
import type { ProgramContext } from '../workload.ts';
import { guestPass } from './guest-pass.ts';
import { memstressLayout, vcpuPages } from './memstress-layout.ts';
import { Rounds } from './rounds.ts';
import { checkNothingLost, clearLog, createSlots, getLog, SentPages, sendAll, sendPages, setRegion, testSlots } from './vmm.ts';

/** vcpu_worker: a pass in each round; the first one writes every page. */
export function* dirtyLogVcpu(context: ProgramContext): Task<void> {
  const { control, options, index, random } = context;
  const vcpu = context.vcpu!;
  const pages = vcpuPages(memstressLayout(options), options, index);
  const populate = { ...pages, writePercent: 100, randomAccess: false, random };
  const dirty = { ...populate, writePercent: options.writePercent as number, randomAccess: options.randomAccess === true };
  for (let round = 0; ; ) {
    round = yield* control.nextRound(round);
    if (round === 0) return;
    do {
      if (!(yield* guestPass(vcpu, control, round === 1 ? populate : dirty))) return;
    } while (yield* control.flag());
    yield* control.endRound();
  }
}

/** run_test: populate, enable, iterate, disable; each phase is timed. */
export function* dirtyLogIoctl(context: ProgramContext): Task<void> {
  const { vm, control, options } = context;
  const slots = testSlots(options);
  const sent = vm.config.trackContents ? new SentPages(control, vm) : null;
  const manual = vm.kvm.params.manualProtect;
  yield* createSlots(vm, options);
  const rounds = new Rounds(context);

  if (!(yield* rounds.run())) return;
  rounds.ended('populate');
  for (const slot of slots) yield* setRegion(vm, { ...slot, flags: SlotFlag.logDirty });
  rounds.ended('enable');
  // A log that begins empty tells what changes from now on: the rest is sent first.
  if (sent !== null && !vm.kvm.params.initiallySet) for (const slot of slots) yield* sendAll(vm, sent, slot);

  function* harvest(get: string, clear: string): Task<void> {
    const bitmaps: Uint32Array[] = [];
    for (const slot of slots) bitmaps.push(yield* getLog(vm, slot));
    rounds.ended(get);
    if (manual) {
      for (let i = 0; i < slots.length; i++) yield* clearLog(vm, slots[i], bitmaps[i]);
      rounds.ended(clear);
    }
    for (let i = 0; i < slots.length; i++) yield* sendPages(vm, sent, slots[i], bitmaps[i]);
  }

  for (let iteration = 1; iteration <= (options.iterations as number); iteration++) {
    rounds.restartClock();
    if (options.live === true) {
      yield* control.setFlag(true);
      yield* rounds.begin();
      yield* harvest('get', 'clear');
      yield* control.setFlag(false);
      if (!(yield* rounds.await())) return;
      rounds.ended('settle');
      yield* harvest('get at rest', 'clear at rest');
    } else {
      if (!(yield* rounds.run())) return;
      rounds.ended('dirty');
      yield* harvest('get', 'clear');
    }
    if (sent !== null) for (const slot of slots) yield* checkNothingLost(vm, sent, slot);
    yield* control.checkpoint();
    if (yield* control.stopped()) return;
  }

  if (options.runWhileDisabling === true) {
    yield* control.setFlag(true);
    yield* rounds.begin();
  }
  rounds.restartClock();
  for (const slot of slots) yield* setRegion(vm, slot);
  rounds.ended('disable');
  yield* control.setFlag(false);
  if (!(yield* rounds.await())) return;
  yield* control.stop();
}
