/**
 * What a run measured, as plain data: reports print it, `--json` writes it as it is. Durations are in nanoseconds of the
 * engine's clock.
 */
import type { LockMode } from '../../machine/probe.ts';
import type { OctaveCount } from './histogram.ts';
import type { MmuEventTable } from './mmu-events.ts';
import type { OperationName } from './operations.ts';
import type { FaultOutcomeName } from './outcomes.ts';
import type { Sampling } from './recorder.ts';

export interface Durations {
  /** How many there were; an estimate where only samples were timed. */
  readonly count: number;
  /** How many of them were timed. */
  readonly timed: number;
  readonly totalNs: number;
  readonly meanNs: number;
  readonly p50Ns: number;
  readonly p90Ns: number;
  readonly p99Ns: number;
  readonly p999Ns: number;
  /** The shortest and the longest that were timed. */
  readonly minNs: number;
  readonly maxNs: number;
  readonly histogram: readonly OctaveCount[];
}

/** One lock in one mode from one caller. */
export interface LockMeasurement {
  /** The kernel's name. */
  readonly lock: string;
  readonly mode: keyof typeof LockMode;
  /** The function that took it; `other` where a thread had more callers than it could keep apart. */
  readonly site: string;
  readonly acquisitions: number;
  /** Of them those that had to queue; all their waits were timed. */
  readonly contended: number;
  readonly wait: Durations;
  readonly hold: Durations;
}

export interface OperationMeasurement {
  readonly operation: OperationName;
  readonly begun: number;
  readonly steps: number;
  readonly restarts: number;
}

export interface SpteUpdateMeasurement {
  /** `link`, `leaf`, `split`, `zap`, `protect`, `fast`, `collapse`: what the cmpxchg was for. */
  readonly kind: string;
  readonly attempts: number;
  readonly failed: number;
}

export interface PhaseMeasurement {
  readonly name: string;
  readonly ns: readonly number[];
  readonly totalNs: number;
}

/** Numbers that the workload counted under one name, oldest first. */
export interface TallyMeasurement {
  readonly name: string;
  readonly values: readonly number[];
}

/** A thread's share: its counters that are not 0. */
export interface ThreadMeasurement {
  readonly name: string;
  readonly role: string;
  readonly index: number;
  readonly counters: Readonly<Record<string, number>>;
  readonly faultLatency: Durations;
}

export interface Measurement {
  /** Whether locks and latencies were measured; without, only counters are. */
  readonly measured: boolean;
  readonly sampling: Sampling;
  readonly threads: readonly ThreadMeasurement[];
  /** Every counter, all threads together. */
  readonly counters: Readonly<Record<string, number>>;
  /** What the kernel's tracepoints of the MMU report, counted; empty where only counters are. */
  readonly mmuEvents: MmuEventTable;
  readonly locks: readonly LockMeasurement[];
  readonly yields: {
    readonly tests: number;
    readonly contended: number;
    readonly resched: number;
    /** mmu_lock dropped and retaken, held for read and for write. */
    readonly read: number;
    readonly write: number;
  };
  readonly walks: {
    readonly begun: number;
    readonly steps: number;
    readonly restarts: number;
    readonly operations: readonly OperationMeasurement[];
  };
  readonly spteUpdates: readonly SpteUpdateMeasurement[];
  readonly frozen: {
    readonly frozen: number;
    readonly metByFaults: number;
    readonly metByFastFaults: number;
    readonly metByWalks: number;
    readonly spins: number;
    readonly time: Durations;
  };
  readonly faults: {
    readonly taken: number;
    readonly outcomes: readonly { readonly outcome: FaultOutcomeName; readonly latency: Durations }[];
    /** By reason. */
    readonly retries: Readonly<Record<string, number>>;
    readonly latency: Durations;
  };
  readonly flushes: {
    readonly requested: number;
    /** With a vCPU in the guest. */
    readonly needed: number;
    readonly acknowledged: number;
    readonly kicks: number;
    readonly cost: Durations;
  };
  readonly rcu: {
    readonly gracePeriods: number;
    readonly srcuGracePeriods: number;
    readonly pagesQueued: number;
    readonly pagesFreed: number;
    readonly gracePeriod: Durations;
  };
  readonly pages: {
    readonly allocated: number;
    readonly reused: number;
    readonly freed: number;
    readonly failed: number;
  };
  /** The names of kvm_stat. */
  readonly kvmStat: Readonly<Record<string, number>>;
  /** Statistics of the same kind that kvm_stat does not have, by this program's names. */
  readonly otherStat: Readonly<Record<string, number>>;
  readonly phases: readonly PhaseMeasurement[];
  readonly tallies: readonly TallyMeasurement[];
}
