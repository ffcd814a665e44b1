/**
 * What a step oracle is: one rule that is watched while threads run, at every step.
 *
 * A `StepWorld` tells it what happens, one event after the other in the order in which it took place, and keeps what several
 * oracles need to know (who holds what, where each table hangs). An oracle ends the run by `world.fail`. It must not touch the
 * arena through grants, and forgets everything in `start`: one object judges many executions.
 *
 * Nobody calls what nobody listens to, so an oracle pays for the events that it names and no others.
 */
import type { Address, StepKind } from '../machine/point.ts';
import type { LockMode } from '../machine/probe.ts';
import type { Gfn, Level, Pfn } from '../mmu/level.ts';
import type { RetPf } from '../mmu/page-fault-info.ts';
import type { Spte } from '../mmu/spte.ts';
import type { TracedOperation } from '../mmu/trace.ts';
import type { Leaf } from './cached-translations.ts';
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

/** One change of an SPTE as the MMU's own bookkeeping tells of it (handle_changed_spte). */
export interface SpteChange {
  readonly asId: number;
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
  /** The root that the vCPU runs on, and the leaf that maps the gfn below it now, or null. */
  readonly root: number;
  readonly leaf: Leaf | null;
}

/** What a step oracle can listen to; all but the first two are optional. */
export interface StepOracle {
  readonly name: string;
  /** What must hold, in one line. */
  readonly help: string;
  /** Once, when the arena is in its first state: what each execution begins with. May ask for words to be watched. */
  prepare?(world: StepWorld): void;
  /** An execution begins; the arena is in its first state. */
  start?(world: StepWorld): void;
  /** All threads have ended. */
  end?(world: StepWorld): void;
  /** A thread took a step, of whatever kind. */
  step?(world: StepWorld, thread: ThreadView, kind: StepKind, a: Address): void;
  /** A thread accessed a word that some oracle asked to have watched (`world.watch`). */
  access?(world: StepWorld, thread: ThreadView, kind: StepKind, a: Address): void;
  /** A thread read or wrote an SPTE of `page`. */
  tableAccess?(world: StepWorld, thread: ThreadView, kind: StepKind, page: number, sptep: Address): void;
  /** A thread read or wrote the MMU's words of the descriptor of `page` (struct kvm_mmu_page). */
  headerAccess?(world: StepWorld, thread: ThreadView, kind: StepKind, page: number, a: Address): void;
  spte?(world: StepWorld, step: SpteStep): void;
  spteChanged?(world: StepWorld, thread: ThreadView, change: SpteChange): void;
  spteFrozen?(world: StepWorld, thread: ThreadView, gfn: Gfn, level: Level): void;
  spteThawed?(world: StepWorld, thread: ThreadView): void;
  /** A table was taken out of its tree (kvm_mmu_prepare_zap_page). */
  tableRemoved?(world: StepWorld, thread: ThreadView, page: number): void;
  pageFreed?(world: StepWorld, thread: ThreadView, page: number): void;
  guest?(world: StepWorld, step: GuestStep): void;
  /** The thread is about to take mmu_lock, or to queue for it. Locks that are taken under it are not told of. */
  lockWanted?(world: StepWorld, thread: ThreadView, lock: number, mode: LockMode, site: number): void;
  lockAcquired?(world: StepWorld, thread: ThreadView, lock: number, mode: LockMode, site: number): void;
  /** Just before the release; the thread holds it still. */
  lockReleased?(world: StepWorld, thread: ThreadView, lock: number, mode: LockMode): void;
  /** Just before the outermost RCU section ends. */
  rcuLeft?(world: StepWorld, thread: ThreadView): void;
  /** A remote flush of [first, end) begins: SPTE changes before it are covered by it. */
  flushBegun?(world: StepWorld, thread: ThreadView, first: number, end: number): void;
  flushDone?(world: StepWorld, thread: ThreadView): void;
  operation?(world: StepWorld, thread: ThreadView, name: TracedOperation): void;
  walkStarted?(world: StepWorld, thread: ThreadView, root: number): void;
  /** A walk starts, or starts again after a yield, towards `goal`. */
  walkRestarted?(world: StepWorld, thread: ThreadView, goal: Gfn): void;
  yielded?(world: StepWorld, thread: ThreadView): void;
  pageFault?(world: StepWorld, thread: ThreadView, gfn: Gfn): void;
  /** With a {@link RetPf}, or a negative errno. */
  pageFaultDone?(world: StepWorld, thread: ThreadView, gfn: Gfn, result: number): void;
  /** A fast page fault is over, however it ended. */
  fastFault?(world: StepWorld, thread: ThreadView, next: Spte, result: RetPf): void;
  /** A harvest protects the pages that `mask` names, from `gfn` on. */
  maskedWalk?(world: StepWorld, thread: ThreadView, mask: bigint, gfn: Gfn): void;
  writeProtected?(world: StepWorld, thread: ThreadView, gfn: Gfn, minLevel: Level): void;
  /** The MMU tells the host that the guest wrote a page (kvm_set_pfn_dirty). */
  hostPageDirtied?(world: StepWorld, thread: ThreadView, pfn: Pfn): void;
  /** The host is about to invalidate pages [first, end) of a region. */
  unmapRange?(world: StepWorld, thread: ThreadView, region: number, first: number, end: number): void;
  /** Whoever runs the threads says that one begins to zap a range of gfns (kvm_zap_gfn_range). */
  zapsRange?(world: StepWorld, thread: ThreadView, first: number, end: number): void;
  /** A zap of a range that was announced has returned. */
  zappedRange?(world: StepWorld, thread: ThreadView): void;
}

const EVENTS = [
  'prepare',
  'start',
  'end',
  'step',
  'access',
  'tableAccess',
  'headerAccess',
  'spte',
  'spteChanged',
  'spteFrozen',
  'spteThawed',
  'tableRemoved',
  'pageFreed',
  'guest',
  'lockWanted',
  'lockAcquired',
  'lockReleased',
  'rcuLeft',
  'flushBegun',
  'flushDone',
  'operation',
  'walkStarted',
  'walkRestarted',
  'yielded',
  'pageFault',
  'pageFaultDone',
  'fastFault',
  'maskedWalk',
  'writeProtected',
  'hostPageDirtied',
  'unmapRange',
  'zapsRange',
  'zappedRange',
] as const satisfies readonly (keyof StepOracle)[];

export type StepEventName = (typeof EVENTS)[number];

/** What an oracle does about an event. */
export type Listener<Name extends StepEventName> = OmitThisParameter<NonNullable<StepOracle[Name]>>;

/** For each event what those who listen to it do. */
export type Listeners = { readonly [Name in StepEventName]: readonly Listener<Name>[] };

/** Functions and not oracles: looking a method up in objects of many shapes costs more than most methods do. */
export function listenersOf(oracles: readonly StepOracle[]): Listeners {
  const lists = EVENTS.map((name) => [name, oracles.flatMap((oracle) => oracle[name]?.bind(oracle) ?? [])] as const);
  return Object.fromEntries(lists) as unknown as Listeners;
}
