/** One execution in which the tasks take turns: each goes on for `quantum` steps, then the next enabled one. */
import type { Scheduler } from './scheduler.ts';

export class RoundRobin implements Scheduler {
  readonly #quantum: number;
  #left: number;
  #steps = 0;

  constructor(quantum = 1, executions = 1) {
    this.#quantum = quantum;
    this.#left = executions;
  }

  newExecution(): boolean {
    this.#steps = 0;
    return this.#left-- > 0;
  }

  nextTask(enabled: Int32Array, count: number, last: number): number {
    let next = enabled[0];
    for (let i = 0; i < count; i++) {
      const t = enabled[i];
      if (t === last && this.#steps < this.#quantum) {
        this.#steps++;
        return t;
      }
      if (t > last && next <= last) next = t;
    }
    this.#steps = 1;
    return next;
  }

  random(): number {
    return 0;
  }
}
