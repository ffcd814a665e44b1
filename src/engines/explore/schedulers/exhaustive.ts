/**
 * Every interleaving, depth first, without reduction; with `preemptions`, every one that takes the processor at most so
 * often from a task that could go on. Under the bound, switches away from a task that waits or has ended are free.
 */
import { InvariantError } from '../../../machine/invariant.ts';
import type { Scheduler } from './scheduler.ts';

export class Exhaustive implements Scheduler {
  /** Whether the bound kept a choice from being tried. */
  bounded = false;
  readonly #preemptionsMax: number;
  /** For each step: how many choices there were, which one was taken. */
  readonly #width: number[] = [];
  readonly #choice: number[] = [];
  #depth = 0;
  #fixed = 0;
  #started = false;
  #preemptions = 0;

  constructor(preemptionsMax = Number.POSITIVE_INFINITY) {
    this.#preemptionsMax = preemptionsMax;
  }

  newExecution(): boolean {
    const width = this.#width;
    const choice = this.#choice;
    if (this.#started) {
      let i = this.#depth - 1;
      while (i >= 0 && choice[i] + 1 >= width[i]) i--;
      if (i < 0) return false;
      choice[i]++;
      this.#fixed = i + 1;
    }
    this.#started = true;
    this.#depth = 0;
    this.#preemptions = 0;
    return true;
  }

  nextTask(enabled: Int32Array, count: number, last: number): number {
    const i = this.#depth++;
    const going = this.#preemptionsMax < Number.POSITIVE_INFINITY ? includes(enabled, count, last) : false;
    if (going && this.#preemptions >= this.#preemptionsMax && count > 1) {
      this.bounded = true;
      this.#note(i, 1);
      return last;
    }
    const c = this.#note(i, count);
    const next = enabled[c];
    if (going && next !== last) this.#preemptions++;
    return next;
  }

  #note(i: number, width: number): number {
    if (i < this.#fixed) {
      if (this.#width[i] !== width) {
        throw new InvariantError('nondeterminism', `step ${i} had ${this.#width[i]} choices, and ${width} when repeated`);
      }
      return this.#choice[i];
    }
    this.#width[i] = width;
    this.#choice[i] = 0;
    return 0;
  }

  random(): number {
    return 0;
  }
}

function includes(tasks: Int32Array, count: number, task: number): boolean {
  for (let i = 0; i < count; i++) if (tasks[i] === task) return true;
  return false;
}
