/**
 * A run as reports see it: what was planned, what was measured, what the oracles say, and the verdict.
 */
import type { Measurement } from '../engines/measure/measurement.ts';
import type { MmuEventTable } from '../engines/measure/mmu-events.ts';
import type { ThreadsResult } from '../engines/threads/result.ts';
import type { OracleReport } from '../oracles/oracle.ts';
import type { Workload, WorkloadPlan } from '../workloads/workload.ts';

/** All oracles over the whole state, at one moment of the run. */
export interface Examination {
  /** `end`, or the number of the checkpoint. */
  readonly at: string;
  readonly reports: readonly OracleReport[];
}

export interface RunOutcome {
  readonly workload: Workload;
  readonly plan: WorkloadPlan;
  readonly notes: readonly string[];
  readonly result: Pick<
    ThreadsResult,
    'complete' | 'reason' | 'exitCode' | 'failures' | 'stall' | 'threads' | 'startupNs' | 'elapsedNs'
  >;
  readonly measurement: Measurement;
  /** What the run that was replayed reported, if it was one. */
  readonly recorded?: MmuEventTable;
  /** Whether the run ended because its time was over. */
  readonly timeOver: boolean;
  readonly examinations: readonly Examination[];
  /** Checkpoints that were passed without an examination, because it takes too long. */
  readonly skippedCheckpoints: number;
}

/** Times of each phase by name. */
export const phaseTimes = ({ measurement }: RunOutcome): Record<string, readonly number[]> =>
  Object.fromEntries(measurement.phases.map(({ name, ns }) => [name, ns]));

/** Numbers that the workload counted, by name. */
export const talliesOf = ({ measurement }: RunOutcome): Record<string, readonly number[]> =>
  Object.fromEntries(measurement.tallies.map(({ name, values }) => [name, values]));

/** The lines that the selftest would print. */
export function workloadLines(outcome: RunOutcome): string[] {
  const { workload, plan, measurement, result } = outcome;
  return workload.lines({
    plan,
    phases: phaseTimes(outcome),
    tallies: talliesOf(outcome),
    complete: result.complete,
    counter: (name) => measurement.counters[name] ?? 0,
  });
}
