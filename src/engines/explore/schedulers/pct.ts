/**
 * Probabilistic concurrency testing (Burckhardt, Kothari, Musuvathi, Nagarakatte 2010): tasks have random priorities, the
 * highest enabled one runs, and at `depth - 1` random steps the running one drops below all others. A bug that needs `d`
 * ordering constraints is found with a probability of at least 1 in `n * k^(d-1)` (n tasks, k steps) by depth `d`.
 */
import { type Scheduler, Xorshift } from './scheduler.ts';

export interface PctOptions {
  readonly seed: number;
  /** Ordering constraints to hit: 1 runs tasks one after another, 3 is a good start. */
  readonly depth: number;
  /** Steps of an execution, roughly: where priorities may change. */
  readonly steps: number;
  readonly tasks: number;
  readonly executions?: number;
  /** Number of the first execution, where several searchers share them out. */
  readonly first?: number;
}

export class Pct implements Scheduler {
  readonly #options: PctOptions;
  readonly #numbers = new Xorshift();
  readonly #priority: Int32Array;
  readonly #changes: Int32Array;
  #execution: number;
  #end: number;
  #step = 0;
  #lowest = 0;

  constructor(options: PctOptions) {
    this.#options = options;
    this.#priority = new Int32Array(options.tasks);
    this.#changes = new Int32Array(Math.max(0, options.depth - 1));
    this.#execution = options.first ?? 0;
    this.#end = this.#execution + (options.executions ?? Number.POSITIVE_INFINITY);
  }

  newExecution(): boolean {
    if (this.#execution >= this.#end) return false;
    const numbers = this.#numbers;
    numbers.seed(this.#options.seed, this.#execution++);
    const priority = this.#priority;
    for (let t = 0; t < priority.length; t++) {
      const other = numbers.below(t + 1);
      priority[t] = priority[other];
      priority[other] = t + 1;
    }
    for (let i = 0; i < this.#changes.length; i++) this.#changes[i] = 1 + numbers.below(this.#options.steps);
    this.#step = 0;
    this.#lowest = 0;
    return true;
  }

  nextTask(enabled: Int32Array, count: number): number {
    const priority = this.#priority;
    let best = enabled[0];
    for (let i = 1; i < count; i++) if (priority[enabled[i]] > priority[best]) best = enabled[i];
    this.#step++;
    for (const at of this.#changes) if (at === this.#step) priority[best] = --this.#lowest;
    return best;
  }

  random(): number {
    return this.#numbers.next();
  }
}
