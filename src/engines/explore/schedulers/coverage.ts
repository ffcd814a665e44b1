/** Counts in how many executions each mark of the program was hit, so that a search can say what it never came by. */
import type { Execution } from '../execution.ts';
import type { Finding } from '../program.ts';
import type { Outcome, Scheduler } from './scheduler.ts';

export class CoverageScheduler implements Scheduler {
  /** Executions that hit each mark. */
  readonly hits = new Map<string, number>();
  readonly #inner: Scheduler;

  constructor(inner: Scheduler, marks: readonly string[] = []) {
    this.#inner = inner;
    for (const m of marks) this.hits.set(m, 0);
  }

  /** Marks that no execution has hit yet. */
  get missing(): string[] {
    return [...this.hits].filter(([, n]) => n === 0).map(([m]) => m);
  }

  newExecution(): boolean {
    return this.#inner.newExecution();
  }

  nextTask(enabled: Int32Array, count: number, last: number, execution: Execution): number {
    return this.#inner.nextTask(enabled, count, last, execution);
  }

  random(): number {
    return this.#inner.random();
  }

  finished(outcome: Outcome, finding: Finding | null, execution: Execution): void {
    for (const m of execution.context.marks) this.hits.set(m, (this.hits.get(m) ?? 0) + 1);
    execution.context.marks.clear();
    this.#inner.finished?.(outcome, finding, execution);
  }
}
