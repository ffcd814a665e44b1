/**
 * Replaying a recorded run: each vCPU makes the accesses that its recorded self faulted on, and the ioctl thread issues the
 * recorded ioctls at their place in between.
 *
 * Order `global`: events begin in recorded order, and then overlap as they will; `strict`: one at a time; `vcpu`: each vCPU goes
 * through its own accesses, and only ioctls keep their place among them.
 */
import { mutexLock, mutexUnlock } from '../../machine/mutex.ts';
import type { Task } from '../../machine/point.ts';
import { asGfn } from '../../mmu/level.ts';
import type { Memslot } from '../../mmu/memslot.ts';
import { PfErr } from '../../mmu/page-fault-info.ts';
import { PARAMS, type ParamName } from '../../mmu/params.ts';
import { kvmMmuNewPgd } from '../../mmu/root-load.ts';
import { Site } from '../../mmu/site.ts';
import { clearDirtyLog, getDirtyLog } from '../../vm/dirty-log.ts';
import { guestAccess, guestFault } from '../../vm/guest.ts';
import { hostTouch } from '../../vm/host-operations.ts';
import { hostMadvise } from '../../vm/host-vma.ts';
import { invalidateRangeEnd, invalidateRangeStart } from '../../vm/mmu-notifier.ts';
import { AccessKind } from '../../vm/page-walker.ts';
import { setUserMemoryRegion, type UserMemoryRegion } from '../../vm/set-memory-region.ts';
import { GuestResult, type Vcpu } from '../../vm/vcpu.ts';
import { vcpuEnterGuest, vcpuLeaveGuest } from '../../vm/vcpu-run.ts';
import type { Vm } from '../../vm/vm.ts';
import type { ProgramContext } from '../workload.ts';
import { accessFailed } from './guest-pass.ts';
import { pauseUntil } from './pause.ts';
import { CLEARED_NUMBERS, IOCTL_OWNER, isVcpuEvent, TraceDetail, TraceEvent, TraceScript } from './trace-script.ts';
import { findSlot, SentPages, sendPages } from './vmm.ts';

const ACCESS: Readonly<Record<number, AccessKind>> = {
  [TraceEvent.read]: AccessKind.read,
  [TraceEvent.write]: AccessKind.write,
  [TraceEvent.exec]: AccessKind.exec,
};

/** Parameters by the number that stands for them in an operand. */
export const PARAM_NAMES = Object.keys(PARAMS) as ParamName[];

/** What all threads of a replay do alike: waiting for their turn, and for its time. */
class Replayer {
  readonly script: TraceScript;
  readonly paced: boolean;
  readonly #context: ProgramContext;
  readonly #owner: number;
  readonly #order: string;
  readonly #beganNs: number;
  /** Events of vCPUs, and operations of the ioctl thread, before the event at hand. */
  #accesses = 0;
  #operations = 0;
  #prepared = false;

  constructor(context: ProgramContext, owner: number) {
    this.script = new TraceScript(context.control);
    this.paced = context.options.pace === true;
    this.#context = context;
    this.#owner = owner;
    this.#order = String(context.options.order);
    this.#beganNs = context.vm.thread.now();
  }

  get strict(): boolean {
    return this.#order === 'strict';
  }

  /** At the first event that was recorded: what this thread has done until then made the state before. */
  look(i: number): void {
    if (this.#prepared || (this.script.detail(i) & TraceDetail.before) !== 0) return;
    this.#prepared = true;
    this.#context.vm.kvm.trace?.prepared?.();
  }

  isOwn(i: number): boolean {
    return this.script.owner(i) === this.#owner;
  }

  /** Waits until event `i`, one of this thread's, may begin. False where the run is stopped. */
  *await(i: number): Task<boolean> {
    const { control, vm } = this.#context;
    if (this.#order !== 'vcpu') {
      if (i > 0 && !this.isOwn(i - 1) && !(yield* control.awaitTurn(i))) return false;
    } else if (this.#owner === IOCTL_OWNER) {
      if (!(yield* control.awaitRounds(this.#accesses))) return false;
    } else if ((yield* control.stopped()) || !(yield* control.awaitTurn(this.#operations))) {
      return false;
    }
    if (this.paced) yield* pauseUntil(vm.thread, control, this.#beganNs + this.script.ns(i));
    return true;
  }

  /** Event `i` has begun: in order `global` the next one may begin as well. */
  *begun(i: number): Task<void> {
    if (this.#order === 'global') yield* this.#passTurn(i);
  }

  *over(i: number): Task<void> {
    const { control } = this.#context;
    if (this.#order === 'strict') yield* this.#passTurn(i);
    else if (this.#order === 'vcpu' && this.#owner === IOCTL_OWNER) yield* control.passTurn(this.#operations + 1);
    else if (this.#order === 'vcpu') yield* control.endRound();
  }

  /** Within a row of its own events a thread needs no turn. */
  *#passTurn(i: number): Task<void> {
    if (i + 1 < this.script.length && !this.isOwn(i + 1)) yield* this.#context.control.passTurn(i + 1);
  }

  /** On to the event after `i`. */
  count(i: number): void {
    if (isVcpuEvent(this.script.kind(i))) this.#accesses++;
    else this.#operations++;
  }
}

export function* traceVcpu(context: ProgramContext): Task<void> {
  const vcpu = context.vcpu!;
  if ((yield* context.control.nextRound(0)) === 0) return;
  const replay = new Replayer(context, context.index);
  const { script } = replay;
  for (let i = 0; i < script.length; i++) {
    replay.look(i);
    if (replay.isOwn(i)) {
      // Whoever waits outside of the model must not be in the guest, where others wait for it to notice a kick.
      if (vcpu.inGuest && (replay.paced || !replay.isOwn(i - 1))) yield* vcpuLeaveGuest(vcpu);
      if (!(yield* replay.await(i))) break;
      yield* replay.begun(i);
      yield* replayVcpuEvent(vcpu, replay, i);
      yield* replay.over(i);
    }
    replay.count(i);
  }
  if (vcpu.inGuest) yield* vcpuLeaveGuest(vcpu);
}

/** What a vCPU did then. */
function* replayVcpuEvent(vcpu: Vcpu, { script, strict }: Replayer, i: number): Task<void> {
  const kind = script.kind(i);
  const detail = script.detail(i);
  yield* switchAddressSpace(vcpu, (detail & TraceDetail.smm) !== 0 ? 1 : 0);
  if (kind === TraceEvent.enter) {
    if (!vcpu.inGuest) yield* vcpuEnterGuest(vcpu);
    return;
  }
  const gfn = asGfn(script.target(i));
  const asRecorded = strict && (detail & TraceDetail.before) === 0;
  // Nobody is in its way here: it would be fixed, and the guest's next try, which was recorded as well, would find it so.
  if (asRecorded && (detail & TraceDetail.givenUp) !== 0) return;
  let result: GuestResult | null = null;
  if (asRecorded) result = yield* guestFault(vcpu, gfn, ACCESS[kind], errorCodeOf(kind, detail));
  const goesOn = result === null && (!asRecorded || (detail & TraceDetail.ownRetry) === 0);
  if (goesOn) result = yield* guestAccess(vcpu, gfn, ACCESS[kind]);
  // EFAULT is no reason to end: a slot may be gone that was not yet gone then.
  if (result === GuestResult.noMemory || result === GuestResult.dead) throw accessFailed(gfn, result);
}

/** Into system-management mode, or out of it. */
function* switchAddressSpace(vcpu: Vcpu, asId: number): Task<void> {
  if (vcpu.mmu.asId === asId) return;
  if (vcpu.inGuest) yield* vcpuLeaveGuest(vcpu);
  yield* kvmMmuNewPgd(vcpu.kvm, vcpu.mmu, asId, false);
}

/** Of a fault whose page turns out to be mapped. */
function errorCodeOf(kind: TraceEvent, detail: number): number {
  const how = kind === TraceEvent.write ? PfErr.write : kind === TraceEvent.exec ? PfErr.fetch : 0;
  return PfErr.user | how | ((detail & TraceDetail.present) !== 0 ? PfErr.present : 0);
}

export function* traceIoctl(context: ProgramContext): Task<void> {
  const { vm, control } = context;
  yield* control.beginRound();
  const replay = new Replayer(context, IOCTL_OWNER);
  const { script } = replay;
  const vmm = new Vmm(context, script);
  const began = vm.thread.now();
  for (let i = 0; i < script.length; i++) {
    replay.look(i);
    if (replay.isOwn(i)) {
      if (!(yield* replay.await(i))) return;
      yield* replay.begun(i);
      yield* vmm.perform(script.kind(i), script.target(i));
      yield* replay.over(i);
    }
    replay.count(i);
  }
  context.phase('replay', vm.thread.now() - began);
}

/** The recorded user space. */
class Vmm {
  readonly #context: ProgramContext;
  readonly #vm: Vm;
  readonly #script: TraceScript;
  readonly #sent: SentPages | null;
  /** What the last GET of each slot returned: what its CLEAR clears. */
  readonly #logs = new Map<number, Uint32Array>();

  constructor(context: ProgramContext, script: TraceScript) {
    this.#context = context;
    this.#vm = context.vm;
    this.#script = script;
    this.#sent = context.vm.config.trackContents ? new SentPages(context.control, context.vm, script.words) : null;
  }

  *perform(kind: TraceEvent, target: number): Task<void> {
    if (kind === TraceEvent.done) return;
    const { thread } = this.#vm;
    const [a, b, c, d, e, f, g] = this.#script.operand(target);
    const began = thread.now();
    if (kind === TraceEvent.memslot) {
      const region: UserMemoryRegion = { slot: a, asId: b, flags: c, baseGfn: d, pages: e, region: f, regionPage: g };
      const old = yield* findSlot(this.#vm, a, b);
      // What the kernel refused, or an unknown past explains, is refused here as well; the run goes on.
      if ((yield* setUserMemoryRegion(this.#vm, region)) !== 0) this.#context.phase('ioctl refused', 0);
      else this.#context.phase(memslotPhase(old?.flags ?? 0, region, old === null), thread.now() - began);
    } else if (kind === TraceEvent.getDirtyLog) {
      yield* this.#get(a, b);
      this.#context.phase('get dirty log', thread.now() - began);
    } else if (kind === TraceEvent.clearDirtyLog) {
      yield* this.#clear(target);
      this.#context.phase('clear dirty log', thread.now() - began);
    } else if (kind === TraceEvent.invalidate) {
      const range = { region: a, first: b, end: b + c };
      yield* invalidateRangeStart(this.#vm.kvm, range);
      yield* invalidateRangeEnd(this.#vm.kvm, range);
    } else if (kind === TraceEvent.smallPages) {
      yield* hostMadvise(this.#vm, this.#vm.space.regions[a], { first: b, pages: c }, 'nohugepage');
    } else if (kind === TraceEvent.populate) {
      yield* hostTouch(this.#vm, this.#vm.space.regions[a], { first: b, pages: c }, 'write');
    } else if (kind === TraceEvent.parameter) {
      const { kvm } = this.#vm;
      yield* mutexLock(kvm.slotsLock, kvm.thread, Site.user);
      kvm.params.set(PARAM_NAMES[a], b);
      yield* mutexUnlock(kvm.slotsLock, kvm.thread);
    }
  }

  *#get(slot: number, asId: number): Task<void> {
    const { result, bitmap } = yield* getDirtyLog(this.#vm, { slot, asId });
    if (result !== 0) {
      this.#context.phase('ioctl refused', 0);
      return;
    }
    if (this.#vm.kvm.params.manualProtect) this.#logs.set(slot * 2 + asId, bitmap);
    else yield* this.#send(slot, asId, bitmap);
  }

  *#clear(target: number): Task<void> {
    const [slot, asId, first, pages, told] = this.#script.operand(target);
    const memslot = yield* findSlot(this.#vm, slot, asId);
    const bitmap = memslot && (told === 1 ? this.#cleared(target, memslot) : this.#logs.get(slot * 2 + asId));
    if (memslot === null || bitmap === null || bitmap === undefined || memslot.dirtyBitmap === 0) {
      this.#context.phase('ioctl refused', 0);
      return;
    }
    const firstPage = pages > 0 ? first : 0;
    const clear = { slot, asId, firstPage, pages: pages > 0 ? pages : memslot.npages, bitmap: bitmap.subarray(firstPage / 32) };
    if ((yield* clearDirtyLog(this.#vm, clear)) === 0) yield* this.#send(slot, asId, bitmap);
    else this.#context.phase('ioctl refused', 0);
  }

  /** What was cleared then, as a bitmap of the whole slot. */
  #cleared(target: number, { npages }: Memslot): Uint32Array {
    const words = this.#script.operand(target)[5];
    const bitmap = new Uint32Array(2 * Math.ceil(npages / 64));
    for (let i = 0; i < words; i++) {
      const at = 3 * i;
      const operand = this.#script.operand(target + 1 + Math.floor(at / CLEARED_NUMBERS));
      const [page, low, high] = operand.slice(at % CLEARED_NUMBERS);
      const word = 2 * Math.floor(page / 64);
      if (!(word >= 0 && word < bitmap.length)) continue;
      bitmap[word] |= low;
      bitmap[word + 1] |= high;
    }
    return bitmap;
  }

  *#send(slot: number, asId: number, bitmap: Uint32Array): Task<void> {
    const memslot = yield* findSlot(this.#vm, slot, asId);
    if (memslot === null) return;
    const { baseGfn, npages: pages, region, regionPage } = memslot;
    yield* sendPages(this.#vm, this.#sent, { slot, baseGfn, pages, region, regionPage }, bitmap);
  }
}

function memslotPhase(oldFlags: number, region: UserMemoryRegion, isNew: boolean): string {
  if (region.pages === 0) return 'delete slot';
  if (isNew) return 'create slot';
  const [was, is] = [oldFlags & 1, (region.flags ?? 0) & 1];
  return was === is ? 'change slot' : is ? 'enable dirty log' : 'disable dirty log';
}
