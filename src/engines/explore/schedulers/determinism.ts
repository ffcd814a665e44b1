/**
 * Runs every failing execution, and one in `every` of the passing ones, a second time by the same schedule, and tells where
 * the second differs: a model that looks at a clock, a random source or state that outlives an execution cannot be
 * replayed, and its schedules are worth nothing.
 */
import { InvariantError } from '../../../machine/invariant.ts';
import type { Execution } from '../execution.ts';
import type { Finding } from '../program.ts';
import { wider } from '../wider.ts';
import type { Outcome, Scheduler } from './scheduler.ts';

export class DeterminismCheck implements Scheduler {
  /** Executions that were run twice. */
  repeated = 0;
  readonly #inner: Scheduler;
  readonly #every: number;
  #passed = 0;
  #repeating = false;
  #repeatNext = false;
  #at = 0;
  #random = 0;
  #length = 0;
  #outcome: Outcome = 'passed';
  #rule = '';
  #state = 0;
  /** What was chosen at each step of the execution to repeat, from how many, and the steps announced then. */
  #choices: Int32Array = new Int32Array(256);
  #counts: Int32Array = new Int32Array(256);
  #steps: Int32Array = new Int32Array(256);

  constructor(inner: Scheduler, every = 1000) {
    this.#inner = inner;
    this.#every = every;
  }

  newExecution(): boolean {
    this.#at = 0;
    this.#repeating = this.#repeatNext;
    this.#repeatNext = false;
    return this.#repeating || this.#inner.newExecution();
  }

  nextTask(enabled: Int32Array, count: number, last: number, execution: Execution): number {
    const i = this.#at++;
    if (!this.#repeating) {
      if (i === this.#choices.length) this.#grow();
      const next = this.#inner.nextTask(enabled, count, last, execution);
      this.#choices[i] = next;
      this.#counts[i] = count;
      this.#steps[i] = next < 0 ? -1 : (execution.pending[next] ?? 0);
      return next;
    }
    if (i >= this.#length) this.#complain(`it takes more than its ${this.#length} steps when repeated`);
    const next = this.#choices[i];
    if (next < 0) return next;
    if (count !== this.#counts[i])
      this.#complain(`${this.#counts[i]} tasks were enabled at step ${i}, and ${count} when repeated`);
    if ((execution.pending[next] ?? 0) !== this.#steps[i]) {
      this.#complain(`${execution.taskName(next)} announces another step at step ${i} when repeated`);
    }
    return next;
  }

  random(): number {
    if (!this.#repeating) this.#random = this.#inner.random();
    return this.#random;
  }

  finished(outcome: Outcome, finding: Finding | null, execution: Execution): void {
    if (this.#repeating) {
      this.repeated++;
      this.#repeating = false;
      if (this.#at !== this.#length) this.#complain(`it ends after ${this.#at} of its ${this.#length} steps when repeated`);
      if (outcome !== this.#outcome || (finding?.rule ?? '') !== this.#rule) {
        this.#complain(
          `it ${this.#outcome} (${this.#rule || 'no finding'}), and ${outcome} (${finding?.rule ?? 'no finding'}) when repeated`,
        );
      }
      if (execution.memory.hash() !== this.#state) this.#complain('it leaves another final state when repeated');
      return;
    }
    this.#inner.finished?.(outcome, finding, execution);
    if (outcome !== 'failed' && this.#passed++ % this.#every !== 0) return;
    this.#repeatNext = true;
    this.#length = this.#at;
    this.#outcome = outcome;
    this.#rule = finding?.rule ?? '';
    this.#state = execution.memory.hash();
  }

  /** Whether the execution that begins is a repetition: its results were counted already. */
  get repeating(): boolean {
    return this.#repeating;
  }

  #complain(what: string): never {
    throw new InvariantError('nondeterminism', `the program is not deterministic: ${what}`);
  }

  #grow(): void {
    this.#choices = wider(this.#choices);
    this.#counts = wider(this.#counts);
    this.#steps = wider(this.#steps);
  }
}
