/** Runs executions one after another as a scheduler decides. */
import type { Execution } from './execution.ts';
import { judge, toFinding } from './judge.ts';
import type { Finding } from './program.ts';
import type { Outcome, Scheduler } from './schedulers/scheduler.ts';

export class Sampler {
  readonly execution: Execution;
  readonly scheduler: Scheduler;
  /** What the last execution broke, if anything. */
  finding: Finding | null = null;
  readonly #depthMax: number;

  /** @param depthMax steps after which an execution is given up */
  constructor(execution: Execution, scheduler: Scheduler, depthMax = 10_000) {
    this.execution = execution;
    this.scheduler = scheduler;
    this.#depthMax = depthMax;
  }

  /** Runs the next execution: its outcome, or null where the scheduler has none left. */
  run(): Outcome | null {
    if (!this.scheduler.newExecution()) return null;
    const { execution, scheduler } = this;
    execution.dataSeed = scheduler.random();
    let outcome: Outcome = 'passed';
    this.finding = null;
    let scheduling = false;
    try {
      execution.start();
      let last = -1;
      while (execution.live > 0) {
        const n = execution.listEnabled();
        if (n === 0) {
          if (!execution.complete && execution.program.mayDeadlock !== true) this.finding = execution.describeBlocked();
          break;
        }
        scheduling = true;
        const t = execution.length < this.#depthMax ? scheduler.nextTask(execution.enabledTasks, n, last, execution) : -1;
        scheduling = false;
        if (t < 0) {
          outcome = 'cut';
          break;
        }
        execution.take(t);
        last = t;
      }
      if (execution.complete) this.finding = judge(execution);
    } catch (error) {
      if (scheduling) throw error;
      this.finding = toFinding(error);
    }
    if (this.finding !== null) outcome = 'failed';
    scheduler.finished?.(outcome, this.finding, execution);
    return outcome;
  }
}
