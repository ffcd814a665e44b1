/** Every step goes to one of the enabled tasks, all equally likely. Finds shallow races at once. */
import { type Scheduler, Xorshift } from './scheduler.ts';

export class RandomWalk implements Scheduler {
  readonly #seed: number;
  readonly #numbers = new Xorshift();
  #execution: number;
  #end: number;

  /** Executions `first` to `first + executions - 1` of the walk with `seed`: each depends on its own number only. */
  constructor(seed: number, executions = Number.POSITIVE_INFINITY, first = 0) {
    this.#seed = seed;
    this.#execution = first;
    this.#end = first + executions;
  }

  newExecution(): boolean {
    if (this.#execution >= this.#end) return false;
    this.#numbers.seed(this.#seed, this.#execution++);
    return true;
  }

  nextTask(enabled: Int32Array, count: number): number {
    return count === 1 ? enabled[0] : enabled[this.#numbers.below(count)];
  }

  random(): number {
    return this.#numbers.next();
  }
}
