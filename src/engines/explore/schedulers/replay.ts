/**
 * Follows a schedule. A task of the schedule that is not enabled is passed over; when the schedule is at its end, the last
 * task goes on as long as it can, then the lowest one: so that the tail of a schedule need not be written out.
 */
import type { Scheduler } from './scheduler.ts';

export class Replay implements Scheduler {
  /** Entries of the schedule that could not be followed. */
  skipped = 0;
  #schedule: readonly number[];
  readonly #seed: number;
  #at = 0;
  #left = 1;

  constructor(schedule: readonly number[], seed = 0) {
    this.#schedule = schedule;
    this.#seed = seed;
  }

  /** Takes another schedule for the next execution. */
  follow(schedule: readonly number[]): void {
    this.#schedule = schedule;
    this.#left = 1;
  }

  newExecution(): boolean {
    this.#at = 0;
    this.skipped = 0;
    return this.#left-- > 0;
  }

  nextTask(enabled: Int32Array, count: number, last: number): number {
    while (this.#at < this.#schedule.length) {
      const t = this.#schedule[this.#at++];
      for (let i = 0; i < count; i++) if (enabled[i] === t) return t;
      this.skipped++;
    }
    for (let i = 0; i < count; i++) if (enabled[i] === last) return last;
    return enabled[0];
  }

  random(): number {
    return this.#seed;
  }
}
