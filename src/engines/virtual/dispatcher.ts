/**
 * The scheduler of the modelled machine: which task gets a CPU when another one leaves it.
 *
 * It also counts who can still make progress, from which the engine knows that a run is over or stuck.
 */
import { Cause } from './causes.ts';
import { nextRandom } from './random.ts';
import { TaskState } from './task-table.ts';
import type { Works } from './works.ts';

export class Dispatcher {
  /** Tasks that must end before the run does: all but the daemons. */
  remaining = 0;
  /** Tasks that are neither done nor waiting for a word. */
  active = 0;
  readonly #w: Works;
  #random: number;

  constructor(works: Works, random: number) {
    this.#w = works;
    this.#random = random;
  }

  /** A fresh rank for the event queue: the seeded rule that breaks ties. */
  draw(): number {
    return (this.#random = nextRandom(this.#random));
  }

  /** A new task gets its CPU, or a place in the CPU's queue. */
  start(task: number): void {
    const { tasks, cpus, clock } = this.#w;
    cpus.pinned[tasks.cpu[task]]++;
    this.active++;
    if (!tasks.daemon[task]) this.remaining++;
    clock.begin(task, tasks.start[task]);
    this.ready(task, tasks.start[task], 0);
  }

  /** `task` could run from `time` on: at once, `delay` later, where its CPU is idle. */
  ready(task: number, time: number, delay: number): void {
    const { tasks, cpus, queue, prices, accounts, stride } = this.#w;
    const cpu = tasks.cpu[task];
    if (cpus.running[cpu] >= 0) {
      tasks.state[task] = TaskState.runnable;
      tasks.since[task] = time;
      cpus.enqueue(cpu, task);
      return;
    }
    const begin = time + delay;
    accounts[task * stride + Cause.wakeup] += delay;
    tasks.state[task] = TaskState.running;
    cpus.running[cpu] = task;
    cpus.sliceEnd[cpu] = begin + prices.slice;
    queue.push(task, begin, this.draw());
  }

  /** The running task on top of the queue goes to the end of its CPU's queue, to take `step` when it is back. */
  preempt(task: number, step: number, time: number): void {
    const { tasks, cpus, clock } = this.#w;
    const cpu = tasks.cpu[task];
    tasks.pending[task] = step;
    tasks.time[task] = tasks.since[task] = time;
    tasks.state[task] = TaskState.runnable;
    clock.honour(task, time, time);
    cpus.enqueue(cpu, task);
    this.release(task, time);
  }

  /** `task` leaves its CPU at `time`; the one that has waited longest gets it. */
  release(task: number, time: number): void {
    const { tasks, cpus, queue, prices, accounts, stride, clock } = this.#w;
    const cpu = tasks.cpu[task];
    if (queue.has(task)) queue.remove(task);
    const heir = cpus.dequeue(cpu);
    cpus.running[cpu] = heir;
    if (heir < 0) return;
    const since = tasks.since[heir];
    const from = since > time ? since : time;
    accounts[heir * stride + Cause.runnable] += from - since;
    accounts[heir * stride + Cause.contextSwitch] += prices.contextSwitch;
    const begin = from + prices.contextSwitch;
    clock.honour(heir, since, begin);
    tasks.state[heir] = TaskState.running;
    cpus.sliceEnd[cpu] = begin + prices.slice;
    queue.push(heir, begin, this.draw());
  }

  /** `task` has ended. */
  finish(task: number, time: number): void {
    const { tasks, clock } = this.#w;
    tasks.state[task] = TaskState.done;
    tasks.time[task] = time;
    clock.honour(task, time, time);
    this.active--;
    if (!tasks.daemon[task]) this.remaining--;
    this.release(task, time);
  }
}
