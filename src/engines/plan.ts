/**
 * What engines run: a VM and the threads on it. Workloads make plans (`workloads/workload.ts`); engines know no more of them
 * than this.
 */
import type { Address, Task } from '../machine/point.ts';
import type { ParamName } from '../mmu/params.ts';
import type { VcpuMmu } from '../mmu/vcpu-mmu.ts';
import type { Vm } from '../vm/vm.ts';
import { type VmConfig, vmConfig } from '../vm/vm-config.ts';
import { VmLayout } from '../vm/vm-layout.ts';
import type { SpteHistory } from './threads/spte-history.ts';

/** A thread of the plan; its place in the plan is its thread id in the VM. */
export interface EngineThread {
  readonly role: string;
  readonly name: string;
  /** Key of its program. */
  readonly program: string;
  /** Number among the threads of its role, from 0; a vCPU's id. */
  readonly index: number;
  /** Whether the run ends without waiting for it. */
  readonly daemon: boolean;
}

/** Plain data: it crosses into workers as it is. */
export interface EnginePlan {
  readonly workload: string;
  readonly options: Readonly<Record<string, number | string | boolean | readonly number[]>>;
  readonly seed: number;
  readonly vm: Partial<VmConfig>;
  readonly params: Readonly<Partial<Record<ParamName, number>>>;
  readonly threads: readonly EngineThread[];
}

/** What an engine hands to a thread's program. */
export interface EngineContext {
  readonly plan: EnginePlan;
  readonly thread: EngineThread;
  /** This thread's handle on the VM. */
  readonly vm: Vm;
  /**
   * The control block: {@link ControlWord} first, the workload's own words from {@link CONTROL_HEAD_WORDS} on. All 0 but for what
   * `setUp` wrote.
   */
  readonly control: Address;
  /** A seed of this thread's own: follows from the plan's seed and the thread's role and index. */
  readonly seed: number;
  /** Records that a phase of the workload took `ns` nanoseconds of the engine's clock. */
  phase(name: string, ns: number): void;
  /** Records a number that the workload counted: numbers of one name are a series, oldest first. */
  tally(name: string, n: number): void;
  /** Says which vCPU the thread runs, for who looks at the state after its end. */
  runsVcpu?(mmu: VcpuMmu): void;
  /** The next number of a sequence that all threads of the run share: what is numbered by it has one order. */
  nextNumber?(): number;
  /** Sends plain data to the process that runs the threads: see {@link EngineHooks.report}. */
  report?(report: unknown): void;
  /**
   * Lets that process look at the state at once, where it can: else programs wait at a checkpoint of the control block. Returns
   * whether the run shall go on.
   */
  examine?(): boolean;
}

/** Runs the program of a thread to its end. */
export type RunThread = (context: EngineContext) => Task<void>;

/** Words of the control block that engines write. */
export const ControlWord = {
  /** Not 0: programs shall come to an end. Who sleeps is not woken for it: waits of threads end by themselves now and then. */
  stop: 0,
} as const;

/** The engines' part of the control block, at its beginning: a cache line. */
export const CONTROL_HEAD_WORDS = 16;

/** What a workload does in the process that runs the threads, beside them. */
export interface EngineHooks {
  /** Words of the control block after {@link CONTROL_HEAD_WORDS}. */
  readonly controlWords: number;
  /** Prepares the VM and the control block, before any thread runs. */
  setUp?(vm: Vm, control: Address): Task<void>;
  /** Called every few milliseconds while the threads run; `history` tells the last changes of an SPTE. */
  tick?(vm: Vm, control: Address, history: SpteHistory): Task<void>;
  /** Called with what a thread reports: before any `tick` that comes after it. */
  report?(threadId: number, report: unknown): void;
  /** Called before any thread runs, with the counters of each. */
  counters?(counters: readonly Float64Array[]): void;
}

/** Where the VM and the control block of a plan lie: every thread computes the same. */
export interface PlanLayout {
  readonly config: VmConfig;
  readonly vm: VmLayout;
  readonly control: Address;
  /** Thread id of whoever sets up and inspects: it comes after the plan's threads. */
  readonly coordinatorId: number;
  readonly arenaWords: number;
}

/** Errors: RangeError for a plan that describes no VM. */
export function layoutPlan(plan: EnginePlan, controlWords: number): PlanLayout {
  const coordinatorId = plan.threads.length;
  const config = vmConfig({ ...plan.vm, threads: coordinatorId + 1, params: { ...plan.vm.params, ...plan.params } });
  const vm = new VmLayout(config);
  const control = vm.arena.reserve('control block', CONTROL_HEAD_WORDS + controlWords);
  return { config, vm, control, coordinatorId, arenaWords: vm.arenaWords };
}

/** A seed for one thread: different for each role and index, the same for the same plan. */
export function threadSeed(seed: number, thread: Pick<EngineThread, 'role' | 'index'>): number {
  let hash = Math.imul(seed ^ 0x9e37_79b9, 0x85eb_ca6b);
  for (const char of `${thread.role} ${thread.index}`) {
    hash = Math.imul(hash ^ char.charCodeAt(0), 0x0100_0193);
    hash ^= hash >>> 13;
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0xc2b2_ae35);
  return (hash ^ (hash >>> 15)) >>> 1;
}
