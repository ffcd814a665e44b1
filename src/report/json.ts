/**
 * A run as JSON, for other programs: everything that the report prints, and more.
 */
import type { RunOutcome } from './outcome.ts';
import { compareEvents } from './trace-comparison.ts';
import type { Verdict } from './verdict.ts';

/** Changes whenever a field changes its meaning or goes; new fields leave it as it is. */
export const SCHEMA_VERSION = 1;

export interface RunRecord {
  readonly schema: 'tdpsim-run';
  readonly schemaVersion: number;
  readonly [key: string]: unknown;
}

/** @param about of the program that ran: version, Node */
export function runRecord(outcome: RunOutcome, verdict: Verdict, about: Readonly<Record<string, string>>): RunRecord {
  const { workload, plan, notes, result, measurement, recorded, examinations, timeOver, skippedCheckpoints } = outcome;
  const { kernel, cpu, lock, vcpus, memory } = plan.vm;
  return {
    schema: 'tdpsim-run',
    schemaVersion: SCHEMA_VERSION,
    ...about,
    engine: 'threads',
    workload: workload.name,
    options: plan.options,
    seed: plan.seed,
    vm: { kernel, cpu, lock, vcpus, memory },
    params: plan.params,
    notes,
    verdict,
    complete: result.complete,
    reason: result.reason,
    timeOver,
    startupNs: result.startupNs,
    elapsedNs: result.elapsedNs,
    threads: result.threads,
    failures: result.failures,
    stall: result.stall,
    oracles: examinations,
    skippedCheckpoints,
    ...(recorded === undefined ? {} : { recordedAndReplayed: compareEvents(recorded, measurement.mmuEvents) }),
    measurement,
  };
}
