/** What one thread reports to a `StepWorld`: tracepoints of its MMU, and of its locks, RCU sections and flushes. */
import { type LockMode, LockMode as Mode, type Probe } from '../machine/probe.ts';
import { Held } from '../machine/thread.ts';
import type { Gfn, Level } from '../mmu/level.ts';
import type { TracedOperation } from '../mmu/trace.ts';
import { QuietTrace } from './quiet-trace.ts';
import type { StepOracle } from './step-oracle.ts';
import type { StepWorld } from './step-world.ts';
import { TableStatus } from './table-info.ts';
import type { ThreadView } from './thread-view.ts';

export class ThreadReports extends QuietTrace {
  readonly world: StepWorld;
  readonly thread: ThreadView;

  constructor(world: StepWorld, thread: ThreadView) {
    super();
    this.world = world;
    this.thread = thread;
  }

  /** Tells the oracles when the step under way has been told of. */
  #tell(report: (oracle: StepOracle) => void, note?: () => void): void {
    const { world } = this;
    if (!world.on) return;
    world.queue.push(() => {
      for (const oracle of world.oracles) report(oracle);
      note?.();
    });
  }

  override operation(name: TracedOperation): void {
    const { world, thread } = this;
    const isFlush = name === 'flush_all';
    this.#tell((oracle) => {
      if (isFlush) oracle.flushBegun?.(world, thread);
      else {
        thread.operation = name;
        oracle.operation?.(world, thread, name);
      }
    });
  }

  override flushRange(): void {
    const { world, thread } = this;
    this.#tell((oracle) => oracle.flushBegun?.(world, thread));
  }

  override writeProtectGfn(_gfn: Gfn, minLevel: Level): void {
    this.#tell(
      () => {},
      () => {
        this.thread.protectLevel = minLevel;
      },
    );
  }

  override prepareZapPage(page: number): void {
    const { world, thread } = this;
    this.#tell(
      () => {},
      () => world.pageMoved(page, TableStatus.removed, thread),
    );
  }

  override iterStart(): void {
    const { world, thread } = this;
    this.#tell((oracle) => oracle.walkStarted?.(world, thread));
  }

  override iterRestart(): void {
    const { world, thread } = this;
    this.#tell((oracle) => oracle.walkRestarted?.(world, thread));
  }

  override yielded(): void {
    const { world, thread } = this;
    this.#tell((oracle) => oracle.yielded?.(world, thread));
  }

  override unmapHvaRange(region: number, first: number, end: number): void {
    const { world, thread } = this;
    this.#tell((oracle) => oracle.unmapRange?.(world, thread, region, first, end));
  }

  get probe(): Probe {
    const { world, thread } = this;
    const tell = (report: (oracle: StepOracle) => void, note?: () => void): void => this.#tell(report, note);
    return {
      lockAttempt: () => {},
      lockContended: () => {},
      lockAcquired: (lock, mode: LockMode) =>
        tell((oracle) => {
          thread.held[lock] = mode === Mode.read ? Held.read : Held.write;
          oracle.lockAcquired?.(world, thread, lock, mode);
        }),
      lockReleased: (lock, mode: LockMode) =>
        tell(
          (oracle) => oracle.lockReleased?.(world, thread, lock, mode),
          () => {
            thread.held[lock] = Held.no;
          },
        ),
      rcuReadLock: () =>
        tell(
          () => {},
          () => {
            thread.inRcu = true;
          },
        ),
      rcuReadUnlock: () =>
        tell(
          (oracle) => oracle.rcuLeft?.(world, thread),
          () => {
            thread.inRcu = false;
          },
        ),
      rcuGracePeriod: () => {},
      flushRequested: () => {},
      flushDone: () => tell((oracle) => oracle.flushDone?.(world, thread)),
      pageAllocated: (page) =>
        tell(
          () => {},
          () => world.pageMoved(page, TableStatus.private, thread),
        ),
      pageFreed: (page) =>
        tell(
          () => {},
          () => world.pageMoved(page, TableStatus.free, thread),
        ),
    };
  }
}
