/**
 * A machine profile: what each kind of step costs on the modelled machine, as plain data.
 *
 * Profiles are records, not classes: the engine has one implementation, and a user's own JSON file is as good as a built-in
 * one. All times are nanoseconds. What a lock costs under contention is nowhere in here: it follows from `transfer`.
 */
import type { Cost } from '../../machine/cost.ts';
import type { TopologyShape } from './topology.ts';

export type CostName = keyof typeof Cost;

/** Accesses whose line is in the CPU's own cache, and what surrounds them. */
export interface AccessPrices {
  /** A load that hits. */
  readonly hitNs: number;
  /** Handing a plain store to the store buffer; its line is fetched behind the CPU's back. */
  readonly storeNs: number;
  /** An atomic read-modify-write on a line that the CPU owns. */
  readonly atomicNs: number;
  /** A full barrier with nothing in the store buffer. */
  readonly fenceNs: number;
  /** One PAUSE of a spin loop. */
  readonly pauseNs: number;
  /** How far stores may lag behind the CPU before it stalls: the depth of the store buffer, as time. */
  readonly storeBufferNs: number;
}

/** Moving a cache line to the CPU that wants it. */
export interface TransferPrices {
  /** An atomic update of a line that the other thread of the same core updated last. */
  readonly siblingNs: number;
  /** From another core of the socket, or from its shared cache. */
  readonly socketNs: number;
  /** From another socket. */
  readonly remoteNs: number;
  /** From memory, where no cache has it. */
  readonly memoryNs: number;
  /** How long one of several readers of an unmodified line keeps it from the next: the directory's service time. */
  readonly fanoutNs: number;
}

/**
 * When `need_resched()` turns true: never; at the tick once the time slice is used up and another task waits for the CPU; at
 * every tick, as on a host with other work for every CPU.
 */
export const RESCHED_RULES = ['never', 'contended', 'tick'] as const;
/**
 * Where a task may lose its CPU: `voluntary` at cond_resched, in user mode and in the guest only (spinlocks and rwlocks
 * disable preemption in every kernel); `anywhere` before any step, as a vCPU under an overcommitted outer host does.
 */
export const PREEMPTIONS = ['voluntary', 'anywhere'] as const;

export interface SchedulerPrices {
  /** A task's turn on a CPU that others wait for. */
  readonly sliceNs: number;
  /** Switching a CPU from one task to another. */
  readonly contextSwitchNs: number;
  /** What a sleeping lock's releaser pays for each task that it wakes. */
  readonly wakeNs: number;
  /** From the wake-up of a sleeping task to its first step: IPI, idle exit, switching in. */
  readonly wakeupNs: number;
  /** Distance of two scheduler ticks. */
  readonly tickNs: number;
  readonly resched: (typeof RESCHED_RULES)[number];
  readonly preemption: (typeof PREEMPTIONS)[number];
}

export interface MachineProfile {
  readonly name: string;
  readonly description: string;
  readonly topology: TopologyShape;
  readonly access: AccessPrices;
  readonly transfer: TransferPrices;
  readonly scheduler: SchedulerPrices;
  /** Each `spend` varies by up to this fraction either way, uniformly (0 to 0.5), so that equal vCPUs do not march in step. */
  readonly jitter: number;
  /** The price of each cost of `cost.ts`. */
  readonly costs: Readonly<Record<CostName, number>>;
}
