/**
 * The inner loop: the task with the smallest virtual time takes its next step, pays for it, and goes on until another task
 * is due.
 *
 * A step takes effect when it is granted, in order of the time at which it began; its price decides when the task goes on.
 * A line's transfers are served in that same order, so nobody sees a value before the line that carries it could arrive.
 * Work that touches nothing shared (`spend`) needs no order: a task alone on its CPU does it without consulting the queue.
 */
import { type Granted, operands, StepKind } from '../../machine/point.ts';
import { Cause } from './causes.ts';
import type { Dispatcher } from './dispatcher.ts';
import { TIME_MAX_PS } from './price-list.ts';
import { nextRandom } from './random.ts';
import { SCHEDULING_COSTS } from './reschedule-clock.ts';
import { Pending } from './task-table.ts';
import type { Waiters } from './waiters.ts';
import type { Works } from './works.ts';

/** Spends in a row that a task may do ahead of the others. */
const AHEAD_MAX = 64;
/** The running task's rank in the queue: nothing that it wakes may overtake it there. */
const RANK_RUNNING = -0x80000000;

/** Why the loop came back. */
export const Stop = { done: 0, deadline: 1, paused: 2, stuck: 3 } as const;
export type Stop = (typeof Stop)[keyof typeof Stop];

export class Stepper {
  steps = 0;
  readonly #w: Works;
  readonly #dispatcher: Dispatcher;
  readonly #waiters: Waiters;
  /** Time and rank of the task that comes after the running one. */
  #limit = TIME_MAX_PS;
  #limitRank = 0;

  constructor(works: Works, dispatcher: Dispatcher, waiters: Waiters) {
    this.#w = works;
    this.#dispatcher = dispatcher;
    this.#waiters = waiters;
  }

  /** Runs until every task but the daemons is done, a step would begin after `until`, or `budget` steps were granted. */
  advance(until: number, budget: number): Stop {
    const { queue } = this.#w;
    const stepsEnd = this.steps + budget;
    while (this.#dispatcher.remaining > 0) {
      if (this.#dispatcher.active === 0 || queue.size === 0) return Stop.stuck;
      if (queue.times[0] > until) return Stop.deadline;
      if (this.steps >= stepsEnd) return Stop.paused;
      const task = queue.items[0];
      const granted = this.#turn(task, until, stepsEnd - this.steps);
      this.steps += granted;
      this.#w.tasks.steps[task] += granted;
    }
    return Stop.done;
  }

  /** The top task runs until another one is due, it waits, or it ends; returns how many steps it was granted. */
  #turn(task: number, until: number, budget: number): number {
    const { tasks, queue, cpus, memory, directory, accounts, prices, clock, stride } = this.#w;
    const rank = queue.ranks[0];
    const cpu = tasks.cpu[task];
    const row = task * stride;
    const coroutine = tasks.coroutines[task];
    const alone = cpus.pinned[cpu] === 1;
    let granted = 0;
    let time = queue.times[0];
    let step = tasks.pending[task];
    queue.ranks[0] = RANK_RUNNING;
    memory.cpu = cpu;
    this.#lookAhead();
    for (;;) {
      if (!alone && !this.#keepsCpu(task, step, time)) return granted;
      let written = -1;
      let address = 0;
      if (step >= 0) {
        address = step <= 0x7fffffff ? step >> 4 : Math.floor(step / 16);
        const line = address >> 4;
        switch (step & 15) {
          case StepKind.Read:
            time = directory.read(cpu, line, time, row);
            break;
          case StepKind.Rmw:
          case StepKind.Count: {
            const drained = tasks.drained[task];
            if (drained > time) {
              accounts[row + Cause.lineTransfer] += drained - time;
              time = drained;
            }
            time = directory.update(cpu, line, time, row);
            if (directory.spinners(line) !== 0) written = line;
            break;
          }
          case StepKind.Write: {
            const visible = directory.store(cpu, line, time, tasks.drained[task]);
            tasks.drained[task] = visible;
            time += prices.store;
            accounts[row + Cause.access] += prices.store;
            if (visible - prices.storeBuffer > time) {
              accounts[row + Cause.lineQueue] += visible - prices.storeBuffer - time;
              time = visible - prices.storeBuffer;
            }
            if (directory.spinners(line) !== 0) written = line;
            break;
          }
          case StepKind.Fence: {
            const start = tasks.drained[task] > time ? tasks.drained[task] : time;
            accounts[row + Cause.fence] += start - time + prices.fence;
            time = start + prices.fence;
            break;
          }
          case StepKind.Spend:
            tasks.owed[task] = this.#price(task, tasks.cost[task], tasks.amount[task]);
            step = Pending.owed;
            continue;
          case StepKind.Wait:
            time = this.#waiters.wait(task, address, time);
            if (time < 0) return granted;
            break;
          case StepKind.Relax:
            time = this.#waiters.relax(task, address, time);
            if (time < 0) return granted;
            break;
          default:
            time = this.#waiters.wake(task, address, tasks.amount[task], time);
            this.#lookAhead();
        }
      }
      if (step === Pending.owed && tasks.owed[task] > 0) {
        time = this.#work(task, time);
      } else {
        granted++;
        tasks.time[task] = time;
        let result = coroutine.next(address as Granted);
        if (written >= 0) {
          this.#waiters.lineWritten(written, directory.busyUntil(written));
          this.#lookAhead();
        }
        let ahead = AHEAD_MAX;
        while (result.done !== true && (step = result.value) === StepKind.Spend && alone) {
          const { cost } = operands;
          const amount = this.#price(task, cost, operands.count);
          accounts[row + cost] += amount;
          if (SCHEDULING_COSTS[cost] !== 0) clock.honour(task, time, time + amount);
          time += amount;
          step = Pending.resume;
          if (--ahead === 0) break;
          granted++;
          tasks.time[task] = time;
          result = coroutine.next(0 as Granted);
        }
        if (result.done === true) {
          tasks.values[task] = result.value;
          this.#dispatcher.finish(task, time);
          return granted;
        }
        if (step > 0 && (step & 15) >= StepKind.Wait) {
          tasks.expected[task] = operands.expected;
          tasks.amount[task] = operands.count;
          tasks.cost[task] = operands.cost;
        }
      }
      if (time > this.#limit || (time === this.#limit && rank > this.#limitRank)) {
        tasks.pending[task] = step;
        queue.replaceTop(time, this.#dispatcher.draw());
        return granted;
      }
      if (time > until || granted >= budget) {
        tasks.pending[task] = step;
        queue.replaceTop(time, rank); // still before all others: a pause changes nothing
        return granted;
      }
    }
  }

  #lookAhead(): void {
    const { queue } = this.#w;
    const second = queue.runnerUp();
    this.#limit = second === 0 ? TIME_MAX_PS : queue.times[second];
    this.#limitRank = queue.ranks[second];
  }

  /** What `n` times `cost` come to for `task`, jitter included. */
  #price(task: number, cost: number, n: number): number {
    const { tasks, prices } = this.#w;
    const price = prices.costs[cost] * n;
    if (prices.jitter === 0) return price;
    const random = nextRandom(tasks.random[task]);
    tasks.random[task] = random;
    return price + Math.floor(price * prices.jitter * (random / 0x80000000));
  }

  /** On a CPU with several tasks: whether `task` may take `step` now. Where not, another one has the CPU. */
  #keepsCpu(task: number, step: number, time: number): boolean {
    const { tasks, cpus, queue, prices, preemptAnywhere } = this.#w;
    const cpu = tasks.cpu[task];
    if (step === Pending.slice) {
      if (cpus.hasWaiters(cpu)) {
        this.#waiters.preemptSpinner(task, time);
      } else {
        cpus.sliceEnd[cpu] = time + prices.slice;
        queue.replaceTop(cpus.sliceEnd[cpu], this.#dispatcher.draw());
      }
      return false;
    }
    const mayLose = preemptAnywhere || (step === Pending.owed && SCHEDULING_COSTS[tasks.cost[task]] !== 0);
    if (!mayLose || time < cpus.sliceEnd[cpu]) return true;
    if (!cpus.hasWaiters(cpu)) {
      cpus.sliceEnd[cpu] = time + prices.slice;
      return true;
    }
    this.#dispatcher.preempt(task, step, time);
    return false;
  }

  /** On a CPU with several tasks: works off what `task` owes, to the end of its time slice at most where it may lose the CPU. */
  #work(task: number, time: number): number {
    const { tasks, cpus, accounts, stride, clock, preemptAnywhere } = this.#w;
    const cost = tasks.cost[task];
    const scheduling = SCHEDULING_COSTS[cost] !== 0;
    let amount = tasks.owed[task];
    if (scheduling || preemptAnywhere) amount = Math.min(amount, cpus.sliceEnd[tasks.cpu[task]] - time);
    tasks.owed[task] -= amount;
    accounts[task * stride + cost] += amount;
    if (scheduling) clock.honour(task, time, time + amount);
    return time + amount;
  }
}
