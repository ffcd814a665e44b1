/**
 * vCPUs touch a very large guest, each its share, while the host makes all of its memory read-only and writable again, and while
 * slots are deleted and half of the memory unmapped (kernel: max_guest_memory_test.c, where vCPUs rest during the last two).
 */
import { InvariantError } from '../../machine/invariant.ts';
import type { Task } from '../../machine/point.ts';
import { asGfn } from '../../mmu/level.ts';
import { VmStat, vmStat } from '../../mmu/vm-stat.ts';
import { guestAccess, guestIoExit } from '../../vm/guest.ts';
import { hostMprotect, hostMunmap } from '../../vm/host-vma.ts';
import { AccessKind } from '../../vm/page-walker.ts';
import { GuestResult } from '../../vm/vcpu.ts';
import type { Vm } from '../../vm/vm.ts';
import type { ProgramContext } from '../workload.ts';
import { accessFailed } from './guest-pass.ts';
import { FIRST_SLOT, type MaxMemoryLayout, maxMemoryLayout, SHARED_REGION, vcpuTouches } from './max-guest-memory-layout.ts';
import { pauseUntil } from './pause.ts';
import { Rounds } from './rounds.ts';
import { setRegion } from './vmm.ts';

/** Accesses between two looks at whether the run is stopped. */
const LOOK_EVERY = 64;

/** Times that KVM_RUN is tried again while page-table pages are short, and the pause before each: zapping millions takes its time. */
const NO_MEMORY_RETRIES = 120_000;
const NO_MEMORY_PAUSE_NS = 1e6;

/** What vCPUs do in a round, by its number less 1. */
const Round = {
  /** Write all memory, twice: the second time nothing faults. */
  run1: 1,
  run2: 2,
  /** Write until an access is refused. */
  readonly: 3,
  /** Write all memory: everything is faulted in again. */
  writable: 4,
  /** Write until the flag goes: memory vanishes meanwhile. */
  vanishing: 5,
} as const;

/** How an access may end in this round beside being done: EFAULT, as user space finds out from KVM_RUN. */
const mayBeRefused = (round: number): boolean => round === Round.readonly || round === Round.vanishing;

export function* maxGuestMemoryVcpu(context: ProgramContext): Task<void> {
  const { control } = context;
  for (let round = 0; ; ) {
    round = yield* control.nextRound(round);
    if (round === 0 || !(yield* playRound(context, round))) return;
    yield* control.endRound();
  }
}

/** One round of a vCPU. False where the run is stopped. */
function* playRound(context: ProgramContext, round: number): Task<boolean> {
  const { control, options, index } = context;
  const layout = maxMemoryLayout(options);
  const { first, end } = vcpuTouches(layout, options.vcpus as number, index);
  const endless = mayBeRefused(round);
  let refused = 0;
  let i = first;
  for (let turn = 0; ; turn++) {
    if (i >= end) {
      if (!endless) break;
      i = first;
    }
    if (turn % LOOK_EVERY === 0) {
      if (yield* control.stopped()) return false;
      if (round === Round.vanishing && !(yield* control.flag())) break;
    }
    const page = i * layout.stride;
    const result = yield* writeOnce(context, layout.baseGfn + page);
    if (result > GuestResult.mmio && (result !== GuestResult.fault || !endless))
      throw accessFailed(layout.baseGfn + page, result);
    if (result === GuestResult.fault) refused++;
    if (result === GuestResult.fault && round === Round.readonly) break;
    // The guest notices that the memory is gone, and goes on behind it: each access to it would want an MMIO SPTE.
    i = result === GuestResult.mmio ? Math.ceil(slotEndOf(layout, page) / layout.stride) : i + 1;
  }
  if (refused > 0) context.tally('accesses refused', refused);
  yield* guestIoExit(context.vcpu!);
  return true;
}

/** The end of the slot that page `page` of the guest is in. */
const slotEndOf = ({ pagesPerSlot }: MaxMemoryLayout, page: number): number =>
  (Math.floor(page / pagesPerSlot) + 1) * pagesPerSlot;

/** A write, tried again while the MMU has no page-table page for it: removed ones come back when their root is zapped. */
function* writeOnce(context: ProgramContext, gfn: number): Task<GuestResult> {
  const { vm, control } = context;
  const vcpu = context.vcpu!;
  let result = yield* guestAccess(vcpu, asGfn(gfn), AccessKind.write);
  for (let tries = 0; result === GuestResult.noMemory && tries < NO_MEMORY_RETRIES; tries++) {
    if (tries === 0) context.tally('short of page tables', 1);
    yield* pauseUntil(vm.thread, control, vm.thread.now() + NO_MEMORY_PAUSE_NS);
    if (yield* control.stopped()) return GuestResult.done;
    result = yield* guestAccess(vcpu, asGfn(gfn), AccessKind.write);
  }
  return result;
}

/** Leaves that are mapped, of all sizes. */
const leaves = ({ kvm }: Vm): number => vmStat(kvm, VmStat.pages4k) + vmStat(kvm, VmStat.pages2m) + vmStat(kvm, VmStat.pages1g);

/** Every page that was touched is mapped, by the host's page size. Errors: leaves-missing. */
function checkLeaves(context: ProgramContext, after: string): void {
  const { vm, options } = context;
  const { touches, pages, unit, stride } = maxMemoryLayout(options);
  const expected = stride >= unit ? touches : Math.ceil(pages / unit);
  if (leaves(vm) === expected) return;
  throw new InvariantError(
    'leaves-missing',
    `${leaves(vm)} leaves are mapped after ${after}, not ${expected}: one for each page that was touched`,
  );
}

export function* maxGuestMemoryIoctl(context: ProgramContext): Task<void> {
  const { vm, control, options } = context;
  const { slots, pagesPerSlot, baseGfn } = maxMemoryLayout(options);
  const region = vm.space.regions[SHARED_REGION];
  const whole = { first: 0, pages: region.pages };
  const rounds = new Rounds(context);
  for (let i = 0; i < slots; i++) {
    const slot = { slot: FIRST_SLOT + i, baseGfn: baseGfn + i * pagesPerSlot, pages: pagesPerSlot, region: SHARED_REGION };
    yield* setRegion(vm, slot);
  }
  rounds.ended('create slots');

  if (!(yield* rounds.run())) return;
  rounds.ended('run1');
  checkLeaves(context, 'the first run');
  context.tally('page tables', vmStat(vm.kvm, VmStat.tdpMmuPages));
  if (!(yield* rounds.run())) return;
  rounds.ended('run2');

  yield* rounds.begin();
  yield* hostMprotect(vm, region, whole, 'read');
  if (!(yield* rounds.await())) return;
  rounds.ended('ro');
  yield* hostMprotect(vm, region, whole, 'read-write');
  if (!(yield* rounds.run())) return;
  rounds.ended('rw');
  checkLeaves(context, 'memory became writable again');
  yield* control.checkpoint();

  yield* control.setFlag(true);
  yield* rounds.begin();
  for (let i = slots - 1; i >= 0 && !(yield* control.stopped()); i -= 2) {
    rounds.restartClock();
    yield* setRegion(vm, { slot: FIRST_SLOT + i, baseGfn: baseGfn + i * pagesPerSlot, pages: 0, region: SHARED_REGION });
    rounds.ended('delete slot');
  }
  yield* hostMunmap(vm, region, { first: 0, pages: Math.floor(pagesPerSlot / 2) });
  rounds.ended('unmap half');
  yield* control.setFlag(false);
  if (!(yield* rounds.await())) return;
  yield* control.stop();
}
