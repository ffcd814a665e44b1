/**
 * What sleeps at each state of the execution at hand: tasks whose next step was explored from there, or from above and nothing since
 * conflicts with it. Whatever begins with one of them has been explored (see `Frontier` for the foreign ones, which are being
 * explored by others, and are kept complemented).
 */
import { conflict } from '../access.ts';
import { wider } from '../wider.ts';
import { isInitial, isWeakInitial, type Sequence } from './wakeup-tree.ts';

export class SleepSets {
  readonly #tasks: number;
  #task: Int32Array;
  #access: Int32Array;
  #count = new Int32Array(256);

  /** @param tasks how many there are: the width of a row */
  constructor(tasks: number) {
    this.#tasks = tasks;
    this.#task = new Int32Array(256 * tasks);
    this.#access = new Int32Array(256 * tasks);
  }

  /** Makes the row of state `i` the given pairs of task and access. */
  set(i: number, pairs: readonly number[]): void {
    this.#reserve(i);
    this.#count[i] = 0;
    for (let s = 0; s < pairs.length; s += 2) this.add(i, pairs[s], pairs[s + 1]);
  }

  /** The row of state `i`, as pairs. */
  list(i: number): number[] {
    const pairs: number[] = [];
    const from = i * this.#tasks;
    for (let s = from; s < from + this.#count[i]; s++) pairs.push(this.#task[s], this.#access[s]);
    return pairs;
  }

  add(i: number, task: number, access: number): void {
    const at = i * this.#tasks + this.#count[i]++;
    this.#task[at] = task;
    this.#access[at] = access;
  }

  has(i: number, task: number): boolean {
    const from = i * this.#tasks;
    for (let s = from; s < from + this.#count[i]; s++) if (this.#task[s] === task || ~this.#task[s] === task) return true;
    return false;
  }

  /** Fills the row of state `i + 1` after step `i`: whoever slept before it, is not its task and does not conflict with it. */
  inherit(i: number, task: number, access: number): void {
    this.#reserve(i + 1);
    const tasks = this.#task;
    const accesses = this.#access;
    const from = i * this.#tasks;
    const first = from + this.#tasks;
    let to = first;
    for (let s = from; s < from + this.#count[i]; s++) {
      if (tasks[s] === task || ~tasks[s] === task || conflict(accesses[s], access)) continue;
      tasks[to] = tasks[s];
      accesses[to++] = accesses[s];
    }
    this.#count[i + 1] = to - first;
  }

  /** Whether a sleeper of state `i` makes it needless to explore the sequence from there. */
  covers(i: number, sequence: Sequence, optimal: boolean): boolean {
    const from = i * this.#tasks;
    for (let s = from; s < from + this.#count[i]; s++) {
      const sleeper = this.#task[s];
      const foreign = sleeper < 0;
      const covers = optimal && !foreign ? isWeakInitial : isInitial;
      if (covers(foreign ? ~sleeper : sleeper, this.#access[s], sequence)) return true;
    }
    return false;
  }

  #reserve(i: number): void {
    while (i + 1 >= this.#count.length) {
      this.#task = wider(this.#task);
      this.#access = wider(this.#access);
      this.#count = wider(this.#count);
    }
  }
}
