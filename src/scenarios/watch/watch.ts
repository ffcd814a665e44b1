/** Hands what the threads of a scenario report to the rules that want to hear of it. */
import { LockNumber } from '../../machine/lock-number.ts';
import type { Address } from '../../machine/point.ts';
import type { LockMode, Probe } from '../../machine/probe.ts';
import type { Gfn, Level, Pfn } from '../../mmu/level.ts';
import type { RetPf } from '../../mmu/page-fault-info.ts';
import type { Spte } from '../../mmu/spte.ts';
import type { MmuTrace, TracedOperation } from '../../mmu/trace.ts';
import type { GuestObserver, Vcpu } from '../../vm/vcpu.ts';
import type { Vm } from '../../vm/vm.ts';
import type { SpteChange, StepRule, WatchedThread } from './step-rule.ts';

type Listeners<Name extends keyof StepRule> = readonly (StepRule & Required<Pick<StepRule, Name>>)[];

/** The rules of a VM, by what they listen to. */
export class Watch implements GuestObserver {
  readonly rules: readonly StepRule[];
  readonly threads: ThreadWatch[] = [];
  /** While it is false nobody listens: set-up and ends of executions are not watched. */
  on = false;
  /** Something else that wants every SPTE change, such as the history of a report. */
  onChange: ((thread: WatchedThread, change: SpteChange) => void) | null = null;
  vcpus: readonly Vcpu[] = [];
  readonly #wrote: Listeners<'guestWrote'>;
  readonly #step: Listeners<'step'>;

  constructor(rules: readonly StepRule[]) {
    this.rules = rules;
    this.#wrote = this.listeners('guestWrote');
    this.#step = this.listeners('step');
  }

  listeners<Name extends keyof StepRule>(name: Name): Listeners<Name> {
    return this.rules.filter((rule) => rule[name] !== undefined) as unknown as Listeners<Name>;
  }

  reset(): void {
    for (const rule of this.rules) rule.reset();
    for (const thread of this.threads) thread.reset();
  }

  wrote(vcpu: number, gfn: Gfn, pfn: Pfn): void {
    if (!this.on) return;
    for (const rule of this.#wrote) rule.guestWrote(this.vcpus[vcpu], gfn, pfn);
  }

  read(): void {}

  step(thread: WatchedThread, kind: number, address: number): void {
    for (const rule of this.#step) rule.step(thread, kind, address);
  }

  operationDone(thread: WatchedThread, op: string): void {
    if (this.on) for (const rule of this.listeners('operationDone')) rule.operationDone(thread, op);
  }
}

/** One thread's listener. */
export class ThreadWatch implements MmuTrace, Probe, WatchedThread {
  readonly id: number;
  readonly name: string;
  readonly watch: Watch;
  vm!: Vm;
  vcpu: Vcpu | null = null;
  /** Called when the thread yields, watched or not. */
  onYield: () => void = () => {};
  operationName: TracedOperation | '' = '';
  mmuLockSite = -1;
  readonly #changed: Listeners<'spteChanged'>;
  readonly #frozen: Listeners<'frozen'>;
  readonly #thawed: Listeners<'thawed'>;
  readonly #removed: Listeners<'tableRemoved'>;
  readonly #locked: Listeners<'mmuLocked'>;
  readonly #unlocked: Listeners<'mmuUnlocked'>;
  readonly #rcuUnlocked: Listeners<'rcuUnlocked'>;
  readonly #flushed: Listeners<'flushed'>;
  readonly #started: Listeners<'walkStarted'>;
  readonly #restarted: Listeners<'walkRestarted'>;
  readonly #yielded: Listeners<'yielded'>;
  readonly #operation: Listeners<'operation'>;
  readonly #fault: Listeners<'pageFault'>;
  readonly #faultDone: Listeners<'pageFaultDone'>;
  readonly #protected: Listeners<'writeProtected'>;
  readonly #dirtied: Listeners<'hostPageDirtied'>;
  readonly #masked: Listeners<'maskedWalk'>;
  readonly #fast: Listeners<'fastFault'>;
  readonly #wanted: Listeners<'mmuLockWanted'>;

  constructor(watch: Watch, id: number, name: string) {
    this.watch = watch;
    this.id = id;
    this.name = name;
    watch.threads.push(this);
    this.#changed = watch.listeners('spteChanged');
    this.#frozen = watch.listeners('frozen');
    this.#thawed = watch.listeners('thawed');
    this.#removed = watch.listeners('tableRemoved');
    this.#locked = watch.listeners('mmuLocked');
    this.#unlocked = watch.listeners('mmuUnlocked');
    this.#rcuUnlocked = watch.listeners('rcuUnlocked');
    this.#flushed = watch.listeners('flushed');
    this.#started = watch.listeners('walkStarted');
    this.#restarted = watch.listeners('walkRestarted');
    this.#yielded = watch.listeners('yielded');
    this.#operation = watch.listeners('operation');
    this.#fault = watch.listeners('pageFault');
    this.#faultDone = watch.listeners('pageFaultDone');
    this.#protected = watch.listeners('writeProtected');
    this.#dirtied = watch.listeners('hostPageDirtied');
    this.#masked = watch.listeners('maskedWalk');
    this.#fast = watch.listeners('fastFault');
    this.#wanted = watch.listeners('mmuLockWanted');
  }

  reset(): void {
    this.operationName = '';
    this.mmuLockSite = -1;
  }

  operation(name: TracedOperation): void {
    if (!this.watch.on) return;
    this.operationName = name;
    for (const rule of this.#operation) rule.operation(this, name);
  }

  spteChanged(asId: number, gfn: Gfn, level: Level, old: Spte, next: Spte): void {
    if (!this.watch.on) return;
    const change = { asId, gfn, level, old, next };
    this.watch.onChange?.(this, change);
    for (const rule of this.#changed) rule.spteChanged(this, change);
  }

  spteFrozen(_sptep: Address, gfn: Gfn, level: Level): void {
    if (this.watch.on) for (const rule of this.#frozen) rule.frozen(this, gfn, level);
  }

  spteThawed(): void {
    if (this.watch.on) for (const rule of this.#thawed) rule.thawed(this);
  }

  prepareZapPage(page: number): void {
    if (this.watch.on) for (const rule of this.#removed) rule.tableRemoved(this, page);
  }

  iterStart(_minLevel: Level, _gfn: Gfn, root: number): void {
    if (this.watch.on) for (const rule of this.#started) rule.walkStarted(this, root);
  }

  iterRestart(goal: Gfn): void {
    if (this.watch.on) for (const rule of this.#restarted) rule.walkRestarted(this, goal);
  }

  yielded(): void {
    this.onYield();
    if (this.watch.on) for (const rule of this.#yielded) rule.yielded(this);
  }

  pageFault(_vcpu: number, gfn: Gfn): void {
    if (this.watch.on) for (const rule of this.#fault) rule.pageFault(this, gfn);
  }

  pageFaultDone(_vcpu: number, gfn: Gfn, result: number): void {
    if (this.watch.on) for (const rule of this.#faultDone) rule.pageFaultDone(this, gfn, result);
  }

  writeProtectGfn(gfn: Gfn, minLevel: Level): void {
    if (this.watch.on) for (const rule of this.#protected) rule.writeProtected(this, gfn, minLevel);
  }

  clearDirtyPtMasked(gfn: Gfn, mask: bigint): void {
    if (this.watch.on) for (const rule of this.#masked) rule.maskedWalk(this, mask, gfn);
  }

  hostPageDirtied(pfn: Pfn): void {
    if (this.watch.on) for (const rule of this.#dirtied) rule.hostPageDirtied(this, pfn);
  }

  fastPageFault(_v: number, _gfn: Gfn, _code: number, _p: Address, _old: Spte, next: Spte, result: RetPf): void {
    if (this.watch.on) for (const rule of this.#fast) rule.fastFault(this, next, result);
  }

  lockAttempt(lock: number, _mode: LockMode, site: number): void {
    if (lock === LockNumber.mmuLock && this.watch.on) for (const rule of this.#wanted) rule.mmuLockWanted(this, site);
  }

  lockAcquired(lock: number, mode: LockMode, site: number): void {
    if (lock !== LockNumber.mmuLock) return;
    this.mmuLockSite = site;
    if (this.watch.on) for (const rule of this.#locked) rule.mmuLocked(this, mode, site);
  }

  lockReleased(lock: number, mode: LockMode): void {
    if (lock !== LockNumber.mmuLock) return;
    if (this.watch.on) for (const rule of this.#unlocked) rule.mmuUnlocked(this, mode, this.mmuLockSite);
    this.mmuLockSite = -1;
  }

  rcuReadUnlock(): void {
    if (this.watch.on) for (const rule of this.#rcuUnlocked) rule.rcuUnlocked(this);
  }

  flushDone(): void {
    if (this.watch.on) for (const rule of this.#flushed) rule.flushed(this);
  }

  lockContended(): void {}
  rcuReadLock(): void {}
  rcuGracePeriod(): void {}
  flushRequested(): void {}
  pageAllocated(): void {}
  pageFreed(): void {}
  requested(): void {}
  mapped(): void {}
  getPage(): void {}
  splitHugePage(): void {}
  trySplit(): void {}
  wrprotSlot(): void {}
  clearDirtySlot(): void {}
  flushRange(): void {}
  markMmioSpte(): void {}
  checkMmioSpte(): void {}
  handleMmioPageFault(): void {}
  unmapHvaRange(): void {}
  ageHvaRange(): void {}
  markPageDirty(): void {}
  dirtyRingPush(): void {}
  mmio(): void {}
}
