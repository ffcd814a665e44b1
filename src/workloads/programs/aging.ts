/**
 * The host looks which pages the guest uses, and makes them old: first as access_tracking_perf_test.c does with idle page
 * tracking, the vCPUs at rest meanwhile; then under vCPUs that run; and at the end whether what it is told is right.
 *
 * As in the selftest each vCPU's thread marks its own memory, so that the threads fight for mmu_lock.
 */
import { InvariantError } from '../../machine/invariant.ts';
import type { Task } from '../../machine/point.ts';
import { type Aging, hostAge, type PageRange } from '../../vm/host-operations.ts';
import type { Vm } from '../../vm/vm.ts';
import { VmCounter } from '../../vm/vm-counters.ts';
import type { ProgramContext } from '../workload.ts';
import { guestPass } from './guest-pass.ts';
import { type MemstressLayout, memstressLayout, TEST_REGION, vcpuPages } from './memstress-layout.ts';
import { pauseUntil } from './pause.ts';
import { Rounds } from './rounds.ts';
import { createSlots } from './vmm.ts';

/** What all vCPU threads do in a round. */
type RoundKind = 'write' | 'read' | 'mark idle' | 'load';

/** The rounds in their order: those of the selftest, by its names; the load; and the two that settle what is true. */
export const AGING_ROUNDS: readonly { readonly name: string; readonly kind: RoundKind }[] = [
  { name: 'Populating memory', kind: 'write' },
  { name: 'Writing to populated memory', kind: 'write' },
  { name: 'Reading from populated memory', kind: 'read' },
  { name: 'Mark memory idle', kind: 'mark idle' },
  { name: 'Writing to idle memory', kind: 'write' },
  { name: 'Mark memory idle', kind: 'mark idle' },
  { name: 'Reading from idle memory', kind: 'read' },
  { name: 'load', kind: 'load' },
  { name: 'after the load', kind: 'read' },
  { name: 'after the flush', kind: 'read' },
];
/** The load's number: rounds count from 1. */
export const LOAD_ROUND = 1 + AGING_ROUNDS.findIndex(({ kind }) => kind === 'load');

/** Accesses of one run of a vCPU under load. */
const ACCESSES = 256;

/** The calls among which a host thread chooses, with the options that say how often. */
export const AGINGS: readonly Aging[] = ['clear_young', 'clear_flush_young', 'test_young'];

/** Ages `range` and tells how many pages were asked about, and how many were young. */
function* age(vm: Vm, range: PageRange, how: Aging): Task<{ asked: number; young: number }> {
  const { counters } = vm.thread;
  const before = counters[VmCounter.notifier_ages];
  const young = yield* hostAge(vm, vm.space.regions[TEST_REGION], range, how);
  return { asked: counters[VmCounter.notifier_ages] - before, young };
}

/** Where a row of gfns of test memory lies in the host's region. */
const hostPages = (layout: MemstressLayout, { first, count }: { first: number; count: number }): PageRange => ({
  first: first - layout.baseGfn,
  pages: count,
});

/** A vCPU's thread: a round at a time. Memory that all vCPUs share is marked by the first. */
export function* agingVcpu(context: ProgramContext): Task<void> {
  const { vm, control, options, index, random } = context;
  const vcpu = context.vcpu!;
  const layout = memstressLayout(options);
  const pages = vcpuPages(layout, options, index);
  const pass = { ...pages, randomAccess: false, random };
  const load = {
    ...pass,
    writePercent: options.writePercent as number,
    randomAccess: options.randomAccess === true,
    accesses: ACCESSES,
  };
  let from = 0;
  for (let round = 0; ; ) {
    round = yield* control.nextRound(round);
    if (round === 0) return;
    const { kind } = AGING_ROUNDS[round - 1];
    if (kind === 'load') {
      do {
        if (!(yield* guestPass(vcpu, control, { ...load, from }))) return;
        from = (from + ACCESSES) % pages.count;
      } while (yield* control.flag());
    } else if (kind !== 'mark idle') {
      if (!(yield* guestPass(vcpu, control, { ...pass, writePercent: kind === 'write' ? 100 : 0 }))) return;
    } else if (options.overlap !== true || index === 0) {
      const { asked, young } = yield* age(vm, hostPages(layout, pages), 'clear_young');
      context.tally(`marked in round ${round}`, asked);
      context.tally(`still idle in round ${round}`, asked - young);
    }
    yield* control.endRound();
  }
}

/** The main thread: begins the rounds, and looks at the end whether aging tells the truth. */
export function* agingIoctl(context: ProgramContext): Task<void> {
  const { vm, control, options } = context;
  const { thread } = vm;
  yield* createSlots(vm, options);
  const rounds = new Rounds(context);
  for (const { name, kind } of AGING_ROUNDS.slice(0, LOAD_ROUND)) {
    if (kind === 'load') yield* control.setFlag(true);
    rounds.restartClock();
    yield* rounds.begin();
    if (kind === 'load') {
      if (!(yield* rounds.awaitOthers(options.hosts as number))) return;
      yield* control.setFlag(false);
    }
    if (!(yield* rounds.await())) return;
    rounds.ended(name);
  }
  yield* control.checkpoint();

  const all = { first: 0, pages: memstressLayout(options).pages };
  yield* age(vm, all, 'clear_young');
  const idle = yield* age(vm, all, 'test_young');
  if (idle.young > 0) {
    throw new InvariantError(
      'young-without-access',
      `${idle.young} of ${idle.asked} pages are young, but no vCPU ran since they were made old`,
    );
  }
  if (!(yield* rounds.run())) return;
  const before = thread.counters[VmCounter.age_flushes];
  yield* age(vm, all, 'clear_flush_young');
  const flushed = thread.counters[VmCounter.age_flushes] > before;
  if (!(yield* rounds.run())) return;
  const used = yield* age(vm, all, 'test_young');
  context.tally('still idle at the end', used.asked - used.young);
  // Where nothing was flushed, what the TLBs held is used without anybody noticing.
  if (flushed && used.young !== used.asked) {
    throw new InvariantError(
      'old-after-access',
      `${used.asked - used.young} of ${used.asked} pages are old, but all were read after they were made old and the TLBs flushed`,
    );
  }
  yield* control.stop();
}

/** A thread of the host: so many calls on ranges at random, while the vCPUs run. */
export function* agingHost(context: ProgramContext): Task<void> {
  const { vm, control, options, random } = context;
  const { thread } = vm;
  for (let round = 0; round !== LOAD_ROUND; ) {
    round = yield* control.nextRound(round);
    if (round === 0) return;
  }
  const { pages } = memstressLayout(options);
  const length = Math.min(pages, options.rangePages as number);
  const weights = AGINGS.map((how) => options[how] as number);
  for (let i = 0; i < (options.iterations as number); i++) {
    yield* pauseUntil(thread, control, thread.now() + (options.delay as number) * 1000);
    if (yield* control.stopped()) return;
    const range = { first: random.below(pages - length + 1), pages: length };
    const how = AGINGS[random.weighted(weights)];
    const began = thread.now();
    const { asked, young } = yield* age(vm, range, how);
    context.phase(how, thread.now() - began);
    context.tally(`${how} asked`, asked);
    context.tally(`${how} young`, young);
  }
  yield* control.endRound();
}
