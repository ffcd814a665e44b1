/**
 * What a workload is: the same description drives real threads and the virtual clock.
 *
 * A workload plans a VM and the threads that run on it; each thread runs a program, a coroutine of the single source that
 * is looked up by name, because functions do not cross into workers. Everything that threads share at run time lies in the
 * arena: barriers and data in the control block (`programs/control.ts`), the rest in the VM.
 */
import type { MmuEventTable } from '../engines/measure/mmu-events.ts';
import type { EnginePlan, EngineThread } from '../engines/plan.ts';
import type { Memory } from '../machine/memory.ts';
import type { Task } from '../machine/point.ts';
import type { Random } from '../vm/random.ts';
import type { Vcpu } from '../vm/vcpu.ts';
import type { Vm } from '../vm/vm.ts';
import type { OptionTable } from './option.ts';
import type { Control } from './programs/control.ts';
import type { RunSettings } from './run-settings.ts';

/** What a thread is for: reports group by it. */
export type ThreadRole = 'vcpu' | 'ioctl' | 'zap' | 'rcu' | 'host' | 'recovery';

/** A thread of the plan: `program` is a key of `programs/index.ts`. */
export interface ThreadPlan extends EngineThread {
  readonly role: ThreadRole;
}

/** Plain data: it is sent to workers as it is, and printed with the result. */
export type WorkloadOptions = Readonly<Record<string, number | string | boolean | readonly number[]>>;

export interface WorkloadPlan extends EnginePlan {
  readonly options: WorkloadOptions;
  readonly threads: readonly ThreadPlan[];
  /** Words of the control block that the workload's programs use. */
  readonly controlWords: number;
}

/** Times of a run's phases by name, in nanoseconds: phases of one name are a series, oldest first. */
export type PhaseTimes = Readonly<Record<string, readonly number[]>>;

/** Numbers that programs counted by name, each a series, oldest first. */
export type Tallies = Readonly<Record<string, readonly number[]>>;

/** What a workload's own lines are made from. */
export interface WorkloadResult {
  readonly plan: WorkloadPlan;
  readonly phases: PhaseTimes;
  /** What programs counted, by name. */
  readonly tallies: Tallies;
  /** Whether the run came to its end. */
  readonly complete: boolean;
  /** The sum over all threads of the counter of that name. */
  counter(name: string): number;
}

/** A plan, and what is put into the control block before it runs. */
export interface PreparedPlan {
  readonly plan: WorkloadPlan;
  /** Fills the workload's data; nobody else runs. */
  readonly prepare?: (control: Control, memory: Memory) => void;
  /** Where in the control block's data the versions of sent pages begin (`SentPages`), if the contents of pages are tracked. */
  readonly sentAt?: number;
  /** What the run that is replayed reported, counted: to be compared with what the replay does. */
  readonly recorded?: MmuEventTable;
  /** Lines about the input, printed before the results. */
  readonly notes: readonly string[];
}

/** A workload as the command line sees it. */
export interface Workload {
  readonly name: string;
  /** One line: what fights over what. */
  readonly summary: string;
  /** The kernel selftest whose options and lines it has, if there is one. */
  readonly selftest?: string;
  readonly options: OptionTable;
  /** Name of the file that it needs, for the help: `FILE`. */
  readonly operand?: string;
  /** Errors: UsageError for options that do not fit together, or an input that cannot be read. */
  plan(options: WorkloadOptions, common: RunSettings, operand?: string): Promise<PreparedPlan>;
  /** The lines that the selftest prints, as far as the result has them. */
  lines(result: WorkloadResult): string[];
}

/** What a program runs with. */
export interface ProgramContext {
  /** This thread's handle on the VM. */
  readonly vm: Vm;
  /** The vCPU of a thread of role `vcpu`, else null. */
  readonly vcpu: Vcpu | null;
  readonly control: Control;
  /** Deterministic from the run's seed and the thread's role and index. */
  readonly random: Random;
  readonly options: WorkloadOptions;
  readonly index: number;
  /** Records that a phase of the workload took `ns` nanoseconds of the engine's clock. */
  phase(name: string, ns: number): void;
  /** Records a number that the workload counted: numbers of one name are a series, oldest first. */
  tally(name: string, n: number): void;
}

export type Program = (context: ProgramContext) => Task<void>;
