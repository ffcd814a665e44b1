/**
 * Who has which CPU, and who waits for it: a round robin of time slices, as a fair scheduler gives tasks of equal weight.
 *
 * Tasks are pinned; nothing migrates, and a task that wakes up does not preempt.
 */
import { ringAppend, ringFirst, ringShift } from './task-ring.ts';

export class CpuQueues {
  /** How many tasks are pinned to each CPU; one alone needs no scheduling. */
  readonly pinned: Int32Array;
  /** The task that has the CPU, or -1. */
  readonly running: Int32Array;
  /** When the running task's time slice is over, in picoseconds. */
  readonly sliceEnd: Float64Array;
  readonly #waiting: Int32Array;
  readonly #next: Int32Array;

  /** `next` holds the links of the lists that tasks are in. */
  constructor(cpus: number, next: Int32Array) {
    this.pinned = new Int32Array(cpus);
    this.running = new Int32Array(cpus).fill(-1);
    this.sliceEnd = new Float64Array(cpus);
    this.#waiting = new Int32Array(cpus);
    this.#next = next;
  }

  hasWaiters(cpu: number): boolean {
    return this.#waiting[cpu] !== 0;
  }

  enqueue(cpu: number, task: number): void {
    this.#waiting[cpu] = ringAppend(this.#next, this.#waiting[cpu], task);
  }

  /** The task that has waited longest, or -1. */
  dequeue(cpu: number): number {
    const last = this.#waiting[cpu];
    if (last === 0) return -1;
    const first = ringFirst(this.#next, last);
    this.#waiting[cpu] = ringShift(this.#next, last);
    return first;
  }
}
