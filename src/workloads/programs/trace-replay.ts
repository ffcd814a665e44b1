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
import { PARAMS, type ParamName } from '../../mmu/params.ts';
import { Site } from '../../mmu/site.ts';
import { getDirtyLog } from '../../vm/dirty-log.ts';
import { guestAccess } from '../../vm/guest.ts';
import { invalidateRangeEnd, invalidateRangeStart } from '../../vm/mmu-notifier.ts';
import { AccessKind } from '../../vm/page-walker.ts';
import { setUserMemoryRegion, type UserMemoryRegion } from '../../vm/set-memory-region.ts';
import { GuestResult } from '../../vm/vcpu.ts';
import { vcpuLeaveGuest } from '../../vm/vcpu-run.ts';
import type { Vm } from '../../vm/vm.ts';
import type { ProgramContext } from '../workload.ts';
import { accessFailed } from './guest-pass.ts';
import { pauseUntil } from './pause.ts';
import { IOCTL_OWNER, TraceEvent, TraceScript } from './trace-script.ts';
import { clearLog, findSlot, SentPages, sendPages } from './vmm.ts';

const ACCESS: Readonly<Record<number, AccessKind>> = {
  [TraceEvent.read]: AccessKind.read,
  [TraceEvent.write]: AccessKind.write,
  [TraceEvent.exec]: AccessKind.exec,
};

const isAccess = (kind: TraceEvent): boolean => kind <= TraceEvent.exec;

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
  /** Accesses and operations of the ioctl thread before the event at hand. */
  #accesses = 0;
  #operations = 0;

  constructor(context: ProgramContext, owner: number) {
    this.script = new TraceScript(context.control);
    this.paced = context.options.pace === true;
    this.#context = context;
    this.#owner = owner;
    this.#order = String(context.options.order);
    this.#beganNs = context.vm.thread.now();
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
    if (isAccess(this.script.kind(i))) this.#accesses++;
    else this.#operations++;
  }
}

export function* traceVcpu(context: ProgramContext): Task<void> {
  const vcpu = context.vcpu!;
  if ((yield* context.control.nextRound(0)) === 0) return;
  const replay = new Replayer(context, context.index);
  const { script } = replay;
  for (let i = 0; i < script.length; i++) {
    if (replay.isOwn(i)) {
      // Whoever waits outside of the model must not be in the guest, where others wait for it to notice a kick.
      if (vcpu.inGuest && (replay.paced || !replay.isOwn(i - 1))) yield* vcpuLeaveGuest(vcpu);
      if (!(yield* replay.await(i))) break;
      yield* replay.begun(i);
      const gfn = asGfn(script.target(i));
      const result = yield* guestAccess(vcpu, gfn, ACCESS[script.kind(i)]);
      // EFAULT is no reason to end: a slot may be gone that was not yet gone then.
      if (result === GuestResult.noMemory || result === GuestResult.dead) throw accessFailed(gfn, result);
      yield* replay.over(i);
    }
    replay.count(i);
  }
  if (vcpu.inGuest) yield* vcpuLeaveGuest(vcpu);
}

export function* traceIoctl(context: ProgramContext): Task<void> {
  const { vm, control } = context;
  yield* control.beginRound();
  const replay = new Replayer(context, IOCTL_OWNER);
  const { script } = replay;
  const vmm = new Vmm(context, script);
  const began = vm.thread.now();
  for (let i = 0; i < script.length; i++) {
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
      yield* this.#clear(a, b);
      this.#context.phase('clear dirty log', thread.now() - began);
    } else if (kind === TraceEvent.invalidate) {
      const range = { region: a, first: b, end: b + c };
      yield* invalidateRangeStart(this.#vm.kvm, range);
      yield* invalidateRangeEnd(this.#vm.kvm, range);
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

  /** The recording does not say which pages were cleared: all that the last GET reported. */
  *#clear(slot: number, asId: number): Task<void> {
    const memslot = yield* findSlot(this.#vm, slot, asId);
    const bitmap = this.#logs.get(slot * 2 + asId);
    if (memslot === null || bitmap === undefined || memslot.dirtyBitmap === 0) {
      this.#context.phase('ioctl refused', 0);
      return;
    }
    const region = { slot, asId, baseGfn: memslot.baseGfn, pages: memslot.npages, region: memslot.region };
    yield* clearLog(this.#vm, region, bitmap);
    yield* this.#send(slot, asId, bitmap);
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
