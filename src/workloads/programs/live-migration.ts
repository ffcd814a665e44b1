/**
 * A live migration by pre-copy (QEMU: migration/ram.c): all pages are sent once, then those that the guest has dirtied
 * meanwhile, round by round, until the rest fits into the downtime limit; then the guest is stopped for the last round. After
 * it, as when a migration is given up, logging ends and the guest runs on, on huge pages if they come back.
 */
import { Cost } from '../../machine/cost.ts';
import { own, read, spend, type Task, write } from '../../machine/point.ts';
import { asGfn } from '../../mmu/level.ts';
import { SlotFlag } from '../../mmu/memslot.ts';
import { guestAccess, guestIoExit } from '../../vm/guest.ts';
import { AccessKind } from '../../vm/page-walker.ts';
import { GuestResult } from '../../vm/vcpu.ts';
import type { ProgramContext } from '../workload.ts';
import { accessFailed } from './guest-pass.ts';
import { CODE_PAGES, memstressLayout, vcpuPages } from './memstress-layout.ts';
import { pauseUntil } from './pause.ts';
import { checkNothingLost, clearLog, createSlots, getLog, SentPages, sendAll, sendPages, setRegion, testSlots } from './vmm.ts';

const PAGE_BYTES = 4096;
/** Writes between two looks at the clock. */
const BATCH = 64;

/** What the guest is told, and what its dirtying follows: words of the workload's data, after the versions of sent pages. */
export const MigrationWord = { phase: 0, tracePages: 16, trace: 17 } as const;

/** Names of the phases that the guest's speed is told apart by; the last is the end. */
export const GUEST_PHASES = ['before', 'pre-copy', 'after', 'settled'] as const;
const PHASE_END = GUEST_PHASES.length;

/** First of {@link MigrationWord} in the workload's data. */
export const migrationBase = (options: ProgramContext['options']): number =>
  options.trackContents === true ? memstressLayout(options).pages + CODE_PAGES : 0;

export function* migrationVcpu(context: ProgramContext): Task<void> {
  const { control, options, index, vm } = context;
  const vcpu = context.vcpu!;
  const { thread } = vm;
  const base = migrationBase(options);
  const { first, count } = vcpuPages(memstressLayout(options), options, index);
  const batchNs = (1e9 * BATCH * PAGE_BYTES) / (options.dirtyRate as number);
  const next = dirtier(context, count);
  const phaseWord = control.data(base + MigrationWord.phase);
  const spentNs = GUEST_PHASES.map(() => 0);
  const batches = GUEST_PHASES.map(() => 0);

  if ((yield* control.nextRound(0)) === 0) return;
  for (let i = 0; i < count; i++) {
    const result = yield* guestAccess(vcpu, asGfn(first + i), AccessKind.write);
    if (result > GuestResult.mmio) throw accessFailed(first + i, result);
  }
  yield* control.endRound();
  for (let round = 1; ; ) {
    round = yield* control.nextRound(round);
    if (round === 0) return;
    // A stopped guest does not run: the flag is the VMM's wish to stop it.
    while (!(yield* control.flag())) {
      const phase = vm.memory.load32(yield read(phaseWord));
      if (phase >= PHASE_END || (yield* control.stopped())) break;
      const began = thread.now();
      for (let i = 0; i < BATCH; i++) {
        const result = yield* guestAccess(vcpu, asGfn(first + next()), AccessKind.write);
        if (result > GuestResult.mmio) throw accessFailed(first, result);
      }
      spentNs[phase] += thread.now() - began;
      batches[phase]++;
      yield* pauseUntil(thread, control, began + batchNs);
    }
    yield* guestIoExit(vcpu);
    yield* control.endRound();
    if (vm.memory.load32(yield read(phaseWord)) >= PHASE_END) break;
  }
  GUEST_PHASES.forEach((name, phase) => {
    if (batches[phase] > 0) context.phase(`guest write ${name}`, spentNs[phase] / batches[phase] / BATCH);
  });
}

/** The page that a vCPU dirties next, counted from its first. */
function dirtier({ control, options, random, index, vm }: ProgramContext, count: number): () => number {
  let at = 0;
  const base = migrationBase(options);
  if (options.pattern === 'uniform') return () => random.below(count);
  if (options.pattern === 'hot') {
    const hot = Math.max(1, Math.floor((count * (options.hotPercent as number)) / 100));
    // Nine of ten writes go to the hot set.
    return () => (random.chance(90) ? random.below(hot) : random.below(count));
  }
  if (options.pattern === 'trace') {
    const pages = control.constant(base + MigrationWord.tracePages);
    at = Math.floor((index * pages) / vm.config.vcpus);
    return () => control.constant(base + MigrationWord.trace + (at++ % pages)) % count;
  }
  return () => at++ % count;
}

export function* migrationIoctl(context: ProgramContext): Task<void> {
  const { vm, control, options } = context;
  const { thread } = vm;
  const vcpus = options.vcpus as number;
  const bytesPerNs = (options.bandwidth as number) / 1e9;
  const settleNs = (options.settle as number) * 1e6;
  const sent = vm.config.trackContents ? new SentPages(control, vm) : null;
  const phaseWord = control.data(migrationBase(options) + MigrationWord.phase);
  const [slot] = testSlots(options);
  const progress = { parts: 0 };

  function* phase(number: number): Task<void> {
    vm.memory.store32(yield write(phaseWord), number);
  }
  function* startGuest(): Task<void> {
    yield* control.setFlag(false);
    yield* control.beginRound();
    progress.parts += vcpus;
  }
  function* stopGuest(): Task<boolean> {
    yield* control.setFlag(true);
    return yield* control.awaitRounds(progress.parts);
  }
  /** Pages take their time on the link, but no longer than the VMM takes to read them. */
  function* send(pages: number, began: number): Task<void> {
    yield spend(Cost.userPage, pages);
    yield* pauseUntil(thread, control, began + (pages * PAGE_BYTES) / bytesPerNs);
    context.phase('round', thread.now() - began);
    context.phase('sent bytes', pages * PAGE_BYTES);
  }

  yield* createSlots(vm, options);
  yield* startGuest();
  if (!(yield* control.awaitRounds(progress.parts))) return;
  yield* startGuest();
  yield* pauseUntil(thread, control, thread.now() + settleNs);

  const began = thread.now();
  yield* phase(1);
  yield* setRegion(vm, { ...slot, flags: SlotFlag.logDirty });
  context.phase('enable', thread.now() - began);
  if (sent !== null && !vm.kvm.params.initiallySet) yield* sendAll(vm, sent, slot);
  let left = slot.pages;
  let rounds = 0;
  let bitmap: Uint32Array | null = null;
  for (;;) {
    const roundBegan = thread.now();
    if (rounds === 0 && vm.kvm.params.initiallySet) bitmap = yield* getLog(vm, slot);
    if (bitmap !== null) {
      if (vm.kvm.params.manualProtect) yield* clearLog(vm, slot, bitmap);
      left = yield* sendPages(vm, sent, slot, bitmap);
    }
    yield* send(left, roundBegan);
    rounds++;
    if (yield* control.stopped()) return;
    bitmap = yield* getLog(vm, slot);
    left = bitmap.reduce((sum, word) => sum + bitCount(word), 0);
    if ((left * PAGE_BYTES) / bytesPerNs <= (options.downtime as number) * 1e6 || rounds >= (options.rounds as number)) break;
  }

  const stopped = thread.now();
  if (!(yield* stopGuest())) return;
  const pending = vm.kvm.params.manualProtect ? bitmap : null;
  if (pending !== null) yield* clearLog(vm, slot, pending);
  let last = pending === null ? 0 : yield* sendPages(vm, sent, slot, pending);
  if (pending === null && bitmap !== null) last = yield* sendPages(vm, sent, slot, bitmap);
  last += yield* sendPages(vm, sent, slot, yield* getLog(vm, slot));
  yield* pauseUntil(thread, control, stopped + (last * PAGE_BYTES) / bytesPerNs);
  context.phase('sent bytes', last * PAGE_BYTES);
  context.phase('downtime', thread.now() - stopped);
  if (sent !== null) yield* checkNothingLost(vm, sent, slot);

  const disabling = thread.now();
  yield* setRegion(vm, slot);
  context.phase('disable', thread.now() - disabling);
  // First with the faults that bring the huge pages back, then without.
  yield* phase(2);
  yield* startGuest();
  yield* pauseUntil(thread, control, thread.now() + settleNs);
  yield* phase(3);
  yield* pauseUntil(thread, control, thread.now() + settleNs);
  yield* phase(PHASE_END);
  if (!(yield* stopGuest())) return;
  vm.memory.store32(own(phaseWord), PHASE_END);
}

function bitCount(word: number): number {
  let n = 0;
  for (let bits = word; bits !== 0; bits &= bits - 1) n++;
  return n;
}
