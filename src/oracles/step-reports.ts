/**
 * What one thread reports to a `StepWorld`: tracepoints of its MMU, and of its locks, RCU sections and flushes. Whoever wants to
 * write reports down as well may put methods of an object over these.
 */
import { LockNumber } from '../machine/lock-number.ts';
import type { Address } from '../machine/point.ts';
import { type LockMode, LockMode as Mode, type Probe } from '../machine/probe.ts';
import { Held } from '../machine/thread.ts';
import { asGfn, type Gfn, type Level, type Pfn } from '../mmu/level.ts';
import type { RetPf } from '../mmu/page-fault-info.ts';
import type { Spte } from '../mmu/spte.ts';
import type { TracedOperation } from '../mmu/trace.ts';
import { QuietTrace } from './quiet-trace.ts';
import type { StepWorld } from './step-world.ts';
import { TableStatus } from './table-info.ts';
import type { ThreadView } from './thread-view.ts';

export class ThreadReports extends QuietTrace implements Probe {
  readonly world: StepWorld;
  readonly thread: ThreadView;
  /** Called at once when the thread yields, watched or not. */
  onYield: () => void = () => {};

  constructor(world: StepWorld, thread: ThreadView) {
    super();
    this.world = world;
    this.thread = thread;
  }

  override operation(name: TracedOperation): void {
    const { world, thread } = this;
    if (name === 'flush_all') {
      if (world.hear.flushBegun.length > 0)
        world.later(() => {
          for (const listen of world.hear.flushBegun) listen(world, thread, 0, Infinity);
        });
      return;
    }
    world.later(() => {
      thread.operation = name;
      for (const listen of world.hear.operation) listen(world, thread, name);
    });
  }

  override flushRange(gfn: Gfn, pages: number): void {
    const { world, thread } = this;
    if (world.hear.flushBegun.length > 0)
      world.later(() => {
        for (const listen of world.hear.flushBegun) listen(world, thread, gfn, gfn + pages);
      });
  }

  override spteChanged(asId: number, gfn: Gfn, level: Level, old: Spte, next: Spte): void {
    const { world, thread } = this;
    if (!world.on) return;
    const change = { asId, gfn, level, old, next };
    world.onChange?.(thread, change);
    if (world.hear.spteChanged.length > 0)
      world.later(() => {
        for (const listen of world.hear.spteChanged) listen(world, thread, change);
      });
  }

  override spteFrozen(_sptep: Address, gfn: Gfn, level: Level): void {
    const { world, thread } = this;
    if (world.hear.spteFrozen.length > 0)
      world.later(() => {
        for (const listen of world.hear.spteFrozen) listen(world, thread, gfn, level);
      });
  }

  override spteThawed(_sptep: Address): void {
    const { world, thread } = this;
    if (world.hear.spteThawed.length > 0)
      world.later(() => {
        for (const listen of world.hear.spteThawed) listen(world, thread);
      });
  }

  override prepareZapPage(page: number, _gfn: Gfn, _level: Level): void {
    const { world, thread } = this;
    world.later(() => {
      world.pageMoved(page, TableStatus.removed, thread);
      for (const listen of world.hear.tableRemoved) listen(world, thread, page);
    });
  }

  override writeProtectGfn(gfn: Gfn, minLevel: Level): void {
    const { world, thread } = this;
    world.later(() => {
      thread.protectLevel = minLevel;
      for (const listen of world.hear.writeProtected) listen(world, thread, gfn, minLevel);
    });
  }

  override clearDirtyPtMasked(gfn: Gfn, mask: bigint, _wrprot: boolean): void {
    const { world, thread } = this;
    if (world.hear.maskedWalk.length > 0)
      world.later(() => {
        for (const listen of world.hear.maskedWalk) listen(world, thread, mask, gfn);
      });
  }

  override iterStart(_minLevel: Level, _gfn: Gfn, root: number): void {
    const { world, thread } = this;
    if (world.hear.walkStarted.length > 0)
      world.later(() => {
        for (const listen of world.hear.walkStarted) listen(world, thread, root);
      });
  }

  override iterRestart(goal: Gfn): void {
    const { world, thread } = this;
    if (world.hear.walkRestarted.length > 0)
      world.later(() => {
        for (const listen of world.hear.walkRestarted) listen(world, thread, goal);
      });
  }

  override yielded(_mode: 'read' | 'write'): void {
    const { world, thread } = this;
    this.onYield();
    if (world.hear.yielded.length > 0)
      world.later(() => {
        for (const listen of world.hear.yielded) listen(world, thread);
      });
  }

  override pageFault(_vcpu: number, gfn: Gfn, _errorCode: number): void {
    const { world, thread } = this;
    if (world.hear.pageFault.length > 0)
      world.later(() => {
        for (const listen of world.hear.pageFault) listen(world, thread, gfn);
      });
  }

  override pageFaultDone(_vcpu: number, gfn: Gfn, result: number): void {
    const { world, thread } = this;
    if (world.hear.pageFaultDone.length > 0)
      world.later(() => {
        for (const listen of world.hear.pageFaultDone) listen(world, thread, gfn, result);
      });
  }

  override fastPageFault(
    _vcpu: number,
    _gfn: Gfn,
    _errorCode: number,
    _sptep: Address,
    _old: Spte,
    next: Spte,
    result: RetPf,
    _level: Level,
  ): void {
    const { world, thread } = this;
    if (world.hear.fastFault.length > 0)
      world.later(() => {
        for (const listen of world.hear.fastFault) listen(world, thread, next, result);
      });
  }

  override hostPageDirtied(pfn: Pfn): void {
    const { world, thread } = this;
    if (world.hear.hostPageDirtied.length > 0)
      world.later(() => {
        for (const listen of world.hear.hostPageDirtied) listen(world, thread, pfn);
      });
  }

  override unmapHvaRange(region: number, first: number, end: number): void {
    const { world, thread } = this;
    if (world.hear.unmapRange.length > 0)
      world.later(() => {
        for (const listen of world.hear.unmapRange) listen(world, thread, region, first, end);
      });
  }

  lockAttempt(lock: number, mode: LockMode, site: number): void {
    const { world, thread } = this;
    if (lock > LockNumber.mmuLock || world.hear.lockWanted.length === 0) return;
    world.later(() => {
      for (const listen of world.hear.lockWanted) listen(world, thread, lock, mode, site);
    });
  }

  /** The step under way is the lock's own, so what the thread holds may be noted at once. */
  lockAcquired(lock: number, mode: LockMode, site: number): void {
    const { world, thread } = this;
    if (!world.on) return;
    thread.held[lock] = mode === Mode.read ? Held.read : Held.write;
    if (lock > LockNumber.mmuLock) return;
    if (lock === LockNumber.mmuLock) thread.mmuLockSite = site;
    world.later(() => {
      for (const listen of world.hear.lockAcquired) listen(world, thread, lock, mode, site);
    });
  }

  lockReleased(lock: number, mode: LockMode): void {
    const { world, thread } = this;
    world.later(() => {
      if (lock <= LockNumber.mmuLock) for (const listen of world.hear.lockReleased) listen(world, thread, lock, mode);
      thread.held[lock] = Held.no;
      if (lock === LockNumber.mmuLock) thread.mmuLockSite = -1;
    });
  }

  rcuReadLock(): void {
    if (this.world.on) this.thread.inRcu = true;
  }

  rcuReadUnlock(): void {
    const { world, thread } = this;
    world.later(() => {
      for (const listen of world.hear.rcuLeft) listen(world, thread);
      thread.inRcu = false;
    });
  }

  flushDone(_ns: number): void {
    const { world, thread } = this;
    if (world.hear.flushDone.length > 0)
      world.later(() => {
        for (const listen of world.hear.flushDone) listen(world, thread);
      });
  }

  pageAllocated(page: number, _fresh: boolean): void {
    const { world, thread } = this;
    world.later(() => world.pageMoved(page, TableStatus.private, thread));
  }

  pageFreed(page: number): void {
    const { world, thread } = this;
    world.later(() => {
      for (const listen of world.hear.pageFreed) listen(world, thread, page);
      world.pageMoved(page, TableStatus.free, thread);
    });
  }

  /** A zap of a range of gfns begins, and is over: told by whoever runs it, as the MMU has no tracepoint there. */
  zapsRange(first: number, end: number): void {
    const { world, thread } = this;
    if (world.hear.zapsRange.length > 0)
      world.later(() => {
        for (const listen of world.hear.zapsRange) listen(world, thread, asGfn(first), asGfn(end));
      });
  }

  zappedRange(): void {
    const { world, thread } = this;
    if (world.hear.zappedRange.length > 0)
      world.later(() => {
        for (const listen of world.hear.zappedRange) listen(world, thread);
      });
  }

  lockContended(_lock: number, _mode: LockMode, _site: number): void {}
  rcuGracePeriod(_ns: number): void {}
  flushRequested(_kicked: number): void {}
}
