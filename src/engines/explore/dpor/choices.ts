/**
 * Which task an execution of a search goes on with, where nothing tells it, and how often it has taken the processor from a task
 * that could have gone on.
 *
 * Steps that only wait (`until`) are taken as soon as they can be, and are neither preemptions nor preempted: see `access.ts`.
 */
import { Access, isUntil } from '../access.ts';
import type { Execution } from '../execution.ts';
import { wider } from '../wider.ts';
import type { SleepSets } from './sleep-sets.ts';
import type { Branch } from './wakeup-tree.ts';

export class Choices {
  /** Whether the bound has kept a choice from being listed. */
  forbidden = false;
  readonly #execution: Execution;
  readonly #sleep: SleepSets | null;
  readonly #preemptionsMax: number;
  readonly #bounded: boolean;
  /** For each step: preemptions up to it. */
  #preemptions = new Int32Array(256);

  /** @param sleep what sleeps, or null: every choice is to be tried */
  constructor(execution: Execution, sleep: SleepSets | null, preemptionsMax: number) {
    this.#execution = execution;
    this.#sleep = sleep;
    this.#preemptionsMax = preemptionsMax;
    this.#bounded = preemptionsMax < Number.POSITIVE_INFINITY;
  }

  /**
   * The task of step `i`: -1 where none is enabled, -2 where all of them sleep. Without sleepers, the others go to `others`.
   * @param last the task of the step before
   */
  next(i: number, last: number, others: Branch[]): number {
    if (this.#sleep !== null) return this.#awake(this.#sleep, i, last);
    return this.#bounded ? this.#within(i, last, others) : this.#any(others);
  }

  /** Notes who takes step `i`; false where the bound forbids it. */
  mayTake(i: number, last: number, t: number): boolean {
    if (!this.#bounded) return true;
    if (i >= this.#preemptions.length) this.#preemptions = wider(this.#preemptions);
    this.#preemptions[i] = this.#upTo(i) + (this.#preempts(last, t) ? 1 : 0);
    return this.#preemptions[i] <= this.#preemptionsMax;
  }

  /** The task that took the last of the first `count` steps: an `until` is not counted, for whoever waits was not running. */
  lastTask(count: number): number {
    const { task, access } = this.#execution;
    for (let i = count - 1; i >= 0; i--) if ((access[i] & 3) !== Access.until) return task[i];
    return -1;
  }

  /** Of those that do not sleep, rather the last one than another. */
  #awake(sleep: SleepSets, i: number, last: number): number {
    const n = this.#execution.listEnabled();
    const { enabledTasks } = this.#execution;
    let chosen = -1;
    for (let k = 0; k < n; k++) {
      const t = enabledTasks[k];
      if (this.#onlyWaits(t)) return t;
      if ((chosen < 0 || t === last) && !sleep.has(i, t)) chosen = t;
    }
    return chosen < 0 && n > 0 ? -2 : chosen;
  }

  #any(others: Branch[]): number {
    const n = this.#execution.listEnabled();
    const { enabledTasks } = this.#execution;
    for (let k = 1; k < n; k++) others.push({ task: enabledTasks[k], access: 0, children: [] });
    return n === 0 ? -1 : enabledTasks[0];
  }

  /** Of those that the bound allows, the last one first. */
  #within(i: number, last: number, others: Branch[]): number {
    const n = this.#execution.listEnabled();
    const { enabledTasks } = this.#execution;
    const spent = this.#upTo(i) >= this.#preemptionsMax;
    for (let k = 0; k < n; k++) if (this.#onlyWaits(enabledTasks[k])) return enabledTasks[k];
    let chosen = -1;
    for (let k = 0; k < n; k++) {
      const t = enabledTasks[k];
      if (spent && this.#preempts(last, t)) {
        this.forbidden = true;
      } else if (chosen < 0) {
        chosen = t;
      } else {
        others.push({ task: t === last ? chosen : t, access: 0, children: [] });
        if (t === last) chosen = t;
      }
    }
    return chosen;
  }

  #upTo(i: number): number {
    return i > 0 ? this.#preemptions[i - 1] : 0;
  }

  /** Whether a step of `t` takes the processor from `last`, which could go on. */
  #preempts(last: number, t: number): boolean {
    const { threadCount } = this.#execution;
    if (last < 0 || t === last || t >= threadCount || last >= threadCount || this.#onlyWaits(t)) return false;
    return this.#execution.enabled(last);
  }

  #onlyWaits(t: number): boolean {
    return t < this.#execution.threadCount && isUntil(this.#execution.pending[t] & 15);
  }
}
