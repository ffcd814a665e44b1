/**
 * The inner loop: the task with the smallest virtual time takes its next step, pays for it, and goes on until another task
 * is due.
 *
 * A step takes effect when it is granted, in order of the time at which it began; its price decides when the task goes on.
 * A line's transfers are served in that same order, so nobody sees a value before the line that carries it could arrive.
 *
 * Some steps need no order: work that touches nothing shared (`spend`), loads that hit, and stores to lines that no two CPUs have
 * ever wanted. A task alone on its CPU takes such steps ahead of the others, up to {@link AHEAD_PS} and not past a write that
 * somebody waits for. Where the build's points ask (`point.resumable.ts`), the coroutine is not even suspended for them; the order
 * of all steps, and so every result, is the same either way.
 */
import {
  type Address,
  bindTaker,
  ENDED,
  type Granted,
  operands,
  type PointTaker,
  type Step,
  StepKind,
} from '../../machine/point.ts';
import { Cause } from './causes.ts';
import type { Dispatcher } from './dispatcher.ts';
import { AHEAD_PS, TIME_MAX_PS } from './price-list.ts';
import { nextRandom } from './random.ts';
import { SCHEDULING_COSTS } from './reschedule-clock.ts';
import { Pending } from './task-table.ts';
import type { Waiters } from './waiters.ts';
import type { Works } from './works.ts';

/** Steps in a row that a task may take ahead of the others. */
const AHEAD_MAX = 512;
/** The running task's rank in the queue: nothing that it wakes may overtake it there. */
const RANK_RUNNING = -0x80000000;

/** Why the loop came back. */
export const Stop = { done: 0, deadline: 1, paused: 2, stuck: 3 } as const;
export type Stop = (typeof Stop)[keyof typeof Stop];

export class Stepper implements PointTaker {
  steps = 0;
  readonly #w: Works;
  readonly #dispatcher: Dispatcher;
  readonly #waiters: Waiters;
  /** Time and rank of the task that comes after the running one. */
  #limit = TIME_MAX_PS;
  #limitRank = 0;
  /** The running task, while its coroutine runs. */
  #task = 0;
  #cpu = 0;
  #row = 0;
  #time = 0;
  #granted = 0;
  #rank = 0;
  /** Whether it may take steps without being suspended as long as it is due: it has its CPU for itself, and nobody waits for its last. */
  #goesOn = false;
  /** Steps that it may still take ahead. */
  #ahead = 0;
  /** The turn ends before a step that begins later than this, or once so many steps were granted in it. */
  #until = 0;
  #budget = 0;

  constructor(works: Works, dispatcher: Dispatcher, waiters: Waiters) {
    this.#w = works;
    this.#dispatcher = dispatcher;
    this.#waiters = waiters;
  }

  /** The coroutines of this engine run from now on: see {@link PointTaker}. */
  begin(): void {
    bindTaker(this);
  }

  end(): void {
    bindTaker(null);
  }

  take(a: Address, kind: StepKind): Step {
    const line = a >> 4;
    if (this.#ahead > 0 && this.#takeAhead(line, kind)) return a;
    return this.#takeInOrder(line, kind) ? a : -1 - (a * 16 + kind);
  }

  spend(): Step {
    if (this.#ahead <= 0) return -1 - StepKind.Spend;
    this.#spendAhead();
    return 0;
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
    const { tasks, queue, cpus, memory, directory, accounts, prices, stride } = this.#w;
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
    this.#task = task;
    this.#cpu = cpu;
    this.#row = row;
    this.#rank = rank;
    this.#until = until;
    this.#budget = budget;
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
          case StepKind.Write:
          case StepKind.Rmw:
          case StepKind.Count:
            time = this.#access(line, step & 15, time);
            if ((step & 15) !== StepKind.Read && directory.spinners(line) !== 0) written = line;
            break;
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
        tasks.time[task] = time;
        this.#time = time;
        this.#granted = granted + 1;
        this.#goesOn = alone && written < 0;
        this.#ahead = this.#goesOn ? AHEAD_MAX : 0;
        let next = coroutine.resume(address as Granted);
        if (written >= 0) {
          this.#waiters.lineWritten(written, directory.busyUntil(written));
          this.#lookAhead();
        }
        // Points that do not ask, as those of generators: they are asked here.
        while (next >= 0 && this.#ahead > 0) {
          if (next === StepKind.Spend) {
            this.#spendAhead();
            next = coroutine.resume(0 as Granted);
          } else {
            const a = next <= 0x7fffffff ? next >> 4 : Math.floor(next / 16);
            if (!this.#takeAhead(a >> 4, next & 15)) break;
            next = coroutine.resume(a as Granted);
          }
        }
        time = this.#time;
        granted = this.#granted;
        if (next === ENDED) {
          tasks.values[task] = coroutine.result;
          this.#dispatcher.finish(task, time);
          return granted;
        }
        step = next < 0 ? -1 - next : next;
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

  /** Whether the running task is still the one whose turn it is. */
  #isDue(): boolean {
    const time = this.#time;
    if (!this.#goesOn) return false;
    if (time > this.#limit || (time === this.#limit && this.#rank > this.#limitRank)) return false;
    return time <= this.#until && this.#granted < this.#budget;
  }

  /** Takes the access of `kind` to `line` in its order, where the task's turn is not over and nobody waits for the line. */
  #takeInOrder(line: number, kind: number): boolean {
    if (!this.#isDue()) return false;
    if (kind !== StepKind.Read && this.#w.directory.spinners(line) !== 0) return false;
    this.#time = this.#w.tasks.time[this.#task] = this.#access(line, kind, this.#time);
    this.#granted++;
    this.#ahead = AHEAD_MAX;
    return true;
  }

  /** The running task accesses `line` at `time`; returns when it goes on. */
  #access(line: number, kind: number, time: number): number {
    const { directory, tasks, accounts, prices } = this.#w;
    const row = this.#row;
    if (kind === StepKind.Read) return directory.read(this.#cpu, line, time, row);
    const drained = tasks.drained[this.#task];
    if (kind !== StepKind.Write) {
      let start = time;
      if (drained > time) {
        accounts[row + Cause.lineTransfer] += drained - time;
        start = drained;
      }
      return directory.update(this.#cpu, line, start, row);
    }
    const visible = directory.store(this.#cpu, line, time, drained);
    tasks.drained[this.#task] = visible;
    const handed = time + prices.store;
    accounts[row + Cause.access] += prices.store;
    const stalled = visible - prices.storeBuffer;
    if (stalled <= handed) return handed;
    accounts[row + Cause.lineQueue] += stalled - handed;
    return stalled;
  }

  /** Takes the access of `kind` to `line` at once, where nobody can tell. */
  #takeAhead(line: number, kind: number): boolean {
    const time = this.#time;
    if (time > this.#limit + AHEAD_PS) return false;
    const { directory, tasks, accounts, prices } = this.#w;
    const cpu = this.#cpu;
    const task = this.#task;
    if (kind === StepKind.Read) {
      if (!directory.hits(cpu, line)) return false;
      this.#time = directory.read(cpu, line, time, this.#row);
    } else {
      if (kind > StepKind.Count || !directory.isPrivate(cpu, line, time)) return false;
      if (kind === StepKind.Write) {
        if (tasks.drained[task] - prices.storeBuffer > time + prices.store) return false;
        tasks.drained[task] = directory.store(cpu, line, time, tasks.drained[task]);
        accounts[this.#row + Cause.access] += prices.store;
        this.#time = time + prices.store;
      } else {
        if (tasks.drained[task] > time) return false;
        this.#time = directory.update(cpu, line, time, this.#row);
      }
    }
    tasks.time[task] = this.#time;
    this.#granted++;
    this.#ahead--;
    return true;
  }

  /** Does the work in the operands at once. */
  #spendAhead(): void {
    const { accounts, clock, tasks } = this.#w;
    const { cost } = operands;
    const task = this.#task;
    const amount = this.#price(task, cost, operands.count);
    accounts[this.#row + cost] += amount;
    if (SCHEDULING_COSTS[cost] !== 0) clock.honour(task, this.#time, this.#time + amount);
    tasks.time[task] = this.#time += amount;
    this.#granted++;
    this.#ahead--;
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

  /** Works off what `task` owes; on a CPU with several tasks to the end of its time slice at most, where it may lose the CPU. */
  #work(task: number, time: number): number {
    const { tasks, cpus, accounts, stride, clock, preemptAnywhere } = this.#w;
    const cost = tasks.cost[task];
    const scheduling = SCHEDULING_COSTS[cost] !== 0;
    const cpu = tasks.cpu[task];
    let amount = tasks.owed[task];
    // A task alone on its CPU has no time slices.
    if ((scheduling || preemptAnywhere) && cpus.pinned[cpu] > 1) amount = Math.min(amount, cpus.sliceEnd[cpu] - time);
    tasks.owed[task] -= amount;
    accounts[task * stride + cost] += amount;
    if (scheduling) clock.honour(task, time, time + amount);
    return time + amount;
  }
}
