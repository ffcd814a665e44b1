/** Counts what a scheduler does: executions by outcome, steps, context switches, how wide the choices are. */
import type { Execution } from '../execution.ts';
import type { Finding } from '../program.ts';
import type { Outcome, Scheduler } from './scheduler.ts';

export interface ScheduleMetrics {
  executions: number;
  passed: number;
  failed: number;
  cut: number;
  steps: number;
  stepsMax: number;
  /** Steps by another task than the one before. */
  switches: number;
  /** Switches away from a task that could have gone on. */
  preemptions: number;
  /** Sum of the number of enabled tasks over all steps. */
  choices: number;
}

export class MetricsScheduler implements Scheduler {
  readonly metrics: ScheduleMetrics = {
    executions: 0,
    passed: 0,
    failed: 0,
    cut: 0,
    steps: 0,
    stepsMax: 0,
    switches: 0,
    preemptions: 0,
    choices: 0,
  };
  readonly #inner: Scheduler;

  constructor(inner: Scheduler) {
    this.#inner = inner;
  }

  newExecution(): boolean {
    return this.#inner.newExecution();
  }

  nextTask(enabled: Int32Array, count: number, last: number, execution: Execution): number {
    const next = this.#inner.nextTask(enabled, count, last, execution);
    const { metrics } = this;
    metrics.choices += count;
    if (last >= 0 && next !== last && next >= 0) {
      metrics.switches++;
      for (let i = 0; i < count; i++) if (enabled[i] === last) metrics.preemptions++;
    }
    return next;
  }

  random(): number {
    return this.#inner.random();
  }

  finished(outcome: Outcome, finding: Finding | null, execution: Execution): void {
    const { metrics } = this;
    metrics.executions++;
    metrics[outcome]++;
    metrics.steps += execution.length;
    metrics.stepsMax = Math.max(metrics.stepsMax, execution.length);
    this.#inner.finished?.(outcome, finding, execution);
  }
}
