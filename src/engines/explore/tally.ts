/** What a search has come to so far, in a form that can be added up over workers and written to a checkpoint. */
import type { Finding } from './program.ts';

/** A broken rule with the schedule that broke it. */
export interface Failure {
  readonly finding: Finding;
  readonly schedule: number[];
  /** Seed of the program's own random numbers. */
  readonly seed: number;
  /** Number of the execution, where a policy numbers them: the lowest is reported. */
  readonly execution: number;
}

export interface TallyData {
  executions: number;
  deadlocks: number;
  blocked: number;
  cutByPreemptions: number;
  cutByDepth: number;
  steps: number;
  stepsMax: number;
  repeated: number;
  approximate: boolean;
  states: (number | string)[];
  failures: Failure[];
  marks: [string, number][];
}

export class Tally {
  /** Executions that came to an end: passed, failed or deadlocked. */
  executions = 0;
  deadlocks = 0;
  /** Executions that were abandoned because all that was enabled had been explored elsewhere. */
  blocked = 0;
  cutByPreemptions = 0;
  cutByDepth = 0;
  steps = 0;
  stepsMax = 0;
  /** Executions that were run twice to see whether the program is deterministic. */
  repeated = 0;
  /** Whether some reversals were not tried: see `happens-before.ts`. */
  approximate = false;
  readonly states = new Set<number | string>();
  /** The first failure of each rule. */
  readonly failures = new Map<string, Failure>();
  readonly marks = new Map<string, number>();

  fail(failure: Failure): void {
    const known = this.failures.get(failure.finding.rule);
    if (known === undefined || failure.execution < known.execution) this.failures.set(failure.finding.rule, failure);
  }

  mark(names: Iterable<string>): void {
    for (const name of names) this.marks.set(name, (this.marks.get(name) ?? 0) + 1);
  }

  add(other: TallyData): void {
    this.executions += other.executions;
    this.deadlocks += other.deadlocks;
    this.blocked += other.blocked;
    this.cutByPreemptions += other.cutByPreemptions;
    this.cutByDepth += other.cutByDepth;
    this.steps += other.steps;
    this.stepsMax = Math.max(this.stepsMax, other.stepsMax);
    this.repeated += other.repeated;
    this.approximate ||= other.approximate;
    for (const s of other.states) this.states.add(s);
    for (const f of other.failures) this.fail(f);
    for (const [m, n] of other.marks) this.marks.set(m, (this.marks.get(m) ?? 0) + n);
  }

  data(): TallyData {
    const { executions, deadlocks, blocked, cutByPreemptions, cutByDepth, steps, stepsMax, repeated, approximate } = this;
    return {
      executions,
      deadlocks,
      blocked,
      cutByPreemptions,
      cutByDepth,
      steps,
      stepsMax,
      repeated,
      approximate,
      states: [...this.states],
      failures: [...this.failures.values()],
      marks: [...this.marks],
    };
  }
}
