/**
 * What a step oracle is: one rule that is watched while threads run, at every step.
 *
 * A `StepWorld` tells it what happens, one event after the other in the order in which it took place, and keeps what several
 * oracles need to know (who holds what, where each table hangs). An oracle ends the run by `world.fail`. It must not touch the
 * arena through grants, and forgets everything in `start`: one object judges many executions.
 */
import type { Address, StepKind } from '../machine/point.ts';
import type { LockMode } from '../machine/probe.ts';
import type { Gfn, Level, Pfn } from '../mmu/level.ts';
import type { Spte } from '../mmu/spte.ts';
import type { TracedOperation } from '../mmu/trace.ts';
import type { StepWorld } from './step-world.ts';
import type { TableInfo } from './table-info.ts';
import type { ThreadView } from './thread-view.ts';

/** One change of an SPTE in a table, seen in the arena itself. The object is used again: copy what is to be kept. */
export interface SpteStep {
  readonly thread: ThreadView;
  /** A plain store, or an atomic exchange. */
  readonly kind: StepKind;
  readonly sptep: Address;
  readonly page: number;
  /** The table that the SPTE is in, as it hung before the change. */
  readonly table: TableInfo;
  readonly gfn: Gfn;
  readonly level: Level;
  readonly old: Spte;
  readonly next: Spte;
}

/** One access of a guest to its memory. */
export interface GuestStep {
  readonly thread: ThreadView;
  readonly vcpu: number;
  readonly gfn: Gfn;
  readonly pfn: Pfn;
  readonly write: boolean;
  /** Whether the processor translated it; otherwise KVM did, to emulate the instruction. */
  readonly byHardware: boolean;
}

/** What a step oracle can listen to; all but the first two are optional. */
export interface StepOracle {
  readonly name: string;
  /** What must hold, in one line. */
  readonly help: string;
  /** An execution begins; the arena is in its first state. */
  start?(world: StepWorld): void;
  /** All threads have ended. */
  end?(world: StepWorld): void;
  /** A thread read or wrote a word that is no SPTE. `old` is the value before a write, as far as the word is watched. */
  access?(world: StepWorld, thread: ThreadView, kind: StepKind, a: Address): void;
  /** A thread read or wrote an SPTE of `page`. */
  tableAccess?(world: StepWorld, thread: ThreadView, kind: StepKind, page: number, sptep: Address): void;
  spte?(world: StepWorld, step: SpteStep): void;
  guest?(world: StepWorld, step: GuestStep): void;
  lockAcquired?(world: StepWorld, thread: ThreadView, lock: number, mode: LockMode): void;
  /** Just before the release. */
  lockReleased?(world: StepWorld, thread: ThreadView, lock: number, mode: LockMode): void;
  /** Just before the outermost RCU section ends. */
  rcuLeft?(world: StepWorld, thread: ThreadView): void;
  /** A remote flush begins: SPTE changes before it are covered by it. */
  flushBegun?(world: StepWorld, thread: ThreadView): void;
  flushDone?(world: StepWorld, thread: ThreadView): void;
  operation?(world: StepWorld, thread: ThreadView, name: TracedOperation): void;
  walkStarted?(world: StepWorld, thread: ThreadView): void;
  walkRestarted?(world: StepWorld, thread: ThreadView): void;
  yielded?(world: StepWorld, thread: ThreadView): void;
  /** The host is about to invalidate pages [first, end) of a region. */
  unmapRange?(world: StepWorld, thread: ThreadView, region: number, first: number, end: number): void;
}
