/**
 * A rule that is watched while the threads of a scenario run: it hears what the MMU and the machine report, and breaks the
 * execution at the step that breaks it. Rules read the arena without grants, and never write it.
 */
import { InvariantError } from '../../machine/invariant.ts';
import type { LockMode } from '../../machine/probe.ts';
import type { Gfn, Level, Pfn } from '../../mmu/level.ts';
import type { RetPf } from '../../mmu/page-fault-info.ts';
import type { Spte } from '../../mmu/spte.ts';
import type { TracedOperation } from '../../mmu/trace.ts';
import type { Vcpu } from '../../vm/vcpu.ts';
import type { Vm } from '../../vm/vm.ts';

/** A thread of the scenario, as rules see it. */
export interface WatchedThread {
  readonly id: number;
  readonly name: string;
  readonly vm: Vm;
  /** The vCPU that runs in this thread, if one does. */
  readonly vcpu: Vcpu | null;
  /** The MMU's operation in progress, as far as it announced itself. */
  operationName: TracedOperation | '';
  /** Site at which the thread took mmu_lock, -1 while it does not hold it. */
  mmuLockSite: number;
}

/** One change of an SPTE. */
export interface SpteChange {
  readonly asId: number;
  readonly gfn: Gfn;
  readonly level: Level;
  readonly old: Spte;
  readonly next: Spte;
}

/** What a rule can listen to. All of it is optional but `reset`. */
export interface StepRule {
  /** In kebab case: the oracle's name in findings. */
  readonly name: string;
  /** Forgets what it saw: a new execution begins. */
  reset(): void;
  spteChanged?(thread: WatchedThread, change: SpteChange): void;
  frozen?(thread: WatchedThread, gfn: Gfn, level: Level): void;
  thawed?(thread: WatchedThread): void;
  tableRemoved?(thread: WatchedThread, page: number): void;
  mmuLocked?(thread: WatchedThread, mode: LockMode, site: number): void;
  /** Just before mmu_lock is released; `site` is where it was taken. */
  mmuUnlocked?(thread: WatchedThread, mode: LockMode, site: number): void;
  /** Just before the outermost RCU section ends. */
  rcuUnlocked?(thread: WatchedThread): void;
  /** A remote flush that the thread asked for is complete. */
  flushed?(thread: WatchedThread): void;
  walkStarted?(thread: WatchedThread, root: number): void;
  /** A walk starts, or starts again after a yield, towards `goal`. */
  walkRestarted?(thread: WatchedThread, goal: Gfn): void;
  yielded?(thread: WatchedThread): void;
  operation?(thread: WatchedThread, name: TracedOperation): void;
  pageFault?(thread: WatchedThread, gfn: Gfn): void;
  pageFaultDone?(thread: WatchedThread, gfn: Gfn, result: number): void;
  /** A harvest protects the pages that `mask` names, from `gfn` on. */
  maskedWalk?(thread: WatchedThread, mask: bigint, gfn: Gfn): void;
  /** A fast page fault is over, however it ended. */
  fastFault?(thread: WatchedThread, next: Spte, result: RetPf): void;
  /** The thread is about to take mmu_lock, or to queue for it. */
  mmuLockWanted?(thread: WatchedThread, site: number): void;
  writeProtected?(thread: WatchedThread, gfn: Gfn, minLevel: Level): void;
  guestWrote?(vcpu: Vcpu, gfn: Gfn, pfn: Pfn): void;
  hostPageDirtied?(thread: WatchedThread, pfn: Pfn): void;
  /** A step was taken: announced by thread number `thread`, on the word at `address`. */
  step?(thread: WatchedThread, kind: number, address: number): void;
  /** An operation of the script came to its end. */
  operationDone?(thread: WatchedThread, op: string): void;
}

/** Ends the execution with a finding of `rule`. */
export function breakRule(rule: string, message: string): never {
  throw new InvariantError(rule, message);
}

export const hex = (n: number): string => `0x${n.toString(16)}`;
