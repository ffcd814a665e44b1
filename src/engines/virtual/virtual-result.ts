/**
 * What a run on the virtual clock gives: all that a run on threads gives, and what only a modelled machine can tell.
 */

import type { PlainMemory } from '../../machine/plain-memory.ts';
import type { Address } from '../../machine/point.ts';
import type { Vm } from '../../vm/vm.ts';
import type { Measurement } from '../measure/measurement.ts';
import type { OperationName } from '../measure/operations.ts';
import type { ThreadFailure } from '../threads/protocol.ts';
import type { ExitCode, ThreadOutcome, ThreadsResult } from '../threads/result.ts';
import type { LockUtilisation } from './lock-timeline.ts';
import type { TimeShares } from './time-shares.ts';

/** The longest stretch of a kind, and whose it was. */
export interface Stretch {
  readonly thread: string;
  readonly ns: number;
  /** When it ended. */
  readonly endNs: number;
  /** What the thread was about. */
  readonly operation: OperationName;
}

/** The part of a result that only the virtual clock has: plain data. */
export interface VirtualDetail {
  readonly profile: string;
  /** CPUs of the modelled machine. */
  readonly cpus: number;
  /** Steps granted: what a run costs in real time. */
  readonly steps: number;
  /** Where the time of the vCPUs went, and of each other role. */
  readonly vcpus: TimeShares;
  readonly others: Readonly<Record<string, TimeShares>>;
  /** Width of the buckets of {@link locks}. */
  readonly bucketNs: number;
  /** Use of locks over time. Empty where the run is not measured. */
  readonly locks: readonly LockUtilisation[];
  /** Longest stretch without a point at which the scheduler could have had the CPU: what the soft-lockup detector watches. */
  readonly stall: Stretch;
  /** The same of a vCPU: for so long its guest did not run; null without vCPUs. */
  readonly vcpuStall: Stretch | null;
  /** Longest time that the scheduler's wish for the CPU went unheeded. */
  readonly reschedLate: { readonly thread: string; readonly ns: number };
  /** Longest RCU read-side section; null where the run is not measured. */
  readonly rcu: Stretch | null;
  /** Lines whose transfers took most time. */
  readonly hotLines: readonly { readonly label: string; readonly address: number; readonly stallNs: number }[];
  /** Sleepers that found their word changed without having been woken. */
  readonly lostWakes: number;
}

export interface VirtualResult {
  readonly complete: boolean;
  /** One line: why the run is incomplete; empty where it is not. */
  readonly reason: string;
  readonly exitCode: ExitCode;
  readonly failures: readonly ThreadFailure[];
  readonly stall: ThreadsResult['stall'];
  readonly threads: readonly ThreadOutcome[];
  /** There is nothing to start: 0. */
  readonly startupNs: number;
  /** Virtual time from beginning to end. */
  readonly elapsedNs: number;
  readonly measurement: Measurement;
  readonly vm: Vm;
  readonly memory: PlainMemory;
  readonly control: Address;
  readonly virtual: VirtualDetail;
}
