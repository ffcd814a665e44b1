/**
 * Tasks that wait for a word to change: spinners, who watch their cache's copy of its line, and sleepers, who have given
 * their CPU away and rely on somebody to wake them.
 *
 * A spinner costs nobody anything until the line is written. Then its copy is gone and it fetches the line again, one
 * spinner after the other; those that see a new value go on from there, the others keep their new copy, which the next
 * writer pays to invalidate. That is all there is to lock contention.
 */
import type { Address } from '../../machine/point.ts';
import { Cause } from './causes.ts';
import type { Dispatcher } from './dispatcher.ts';
import { toPs } from './price-list.ts';
import { ringAppend, ringFirst, ringRemove, ringShift } from './task-ring.ts';
import { Pending, TaskState } from './task-table.ts';
import type { Works } from './works.ts';

/** How long a sleeper that nobody woke takes to look again: as the futex wait of the threads engine does. */
const LOST_WAKE_PS = toPs(20e6);

export class Waiters {
  /** Sleepers whose word had changed without a wake-up, found when nothing else could run. */
  lostWakes = 0;
  readonly #w: Works;
  readonly #dispatcher: Dispatcher;
  /** Lists of sleepers by word. */
  readonly #sleepers = new Map<number, number>();

  constructor(works: Works, dispatcher: Dispatcher) {
    this.#w = works;
    this.#dispatcher = dispatcher;
  }

  /**
   * `task`, on top of the queue, waits at `time` until the word at `a` is no longer `expected`. Returns the time at which it
   * goes on where there is nothing to wait for, or -1.
   */
  wait(task: number, a: number, time: number): number {
    const { tasks, memory, directory, labels, prices, accounts, stride, clock } = this.#w;
    const row = task * stride;
    const now = directory.read(tasks.cpu[task], a >> 4, time, row);
    if (memory.words[a] !== tasks.expected[task]) return now;
    if (!labels.sleepsAt(a)) {
      tasks.relaxing[task] = 0;
      this.#spin(task, a, now);
      return -1;
    }
    const asleep = now + prices.contextSwitch;
    accounts[row + Cause.contextSwitch] += prices.contextSwitch;
    this.#suspend(task, TaskState.sleeping, a, asleep);
    clock.honour(task, now, asleep);
    this.#sleepers.set(a, ringAppend(tasks.next, this.#sleepers.get(a) ?? 0, task));
    this.#dispatcher.release(task, asleep);
    return -1;
  }

  /**
   * One turn of a spin loop on the word at `a`. The first turn pauses and lets the loop look again; if nobody has written the
   * line by the second, what the loop saw is what is there, and the task waits. Returns as {@link wait} does.
   */
  relax(task: number, a: number, time: number): number {
    const { tasks, memory, directory, prices, accounts, stride } = this.#w;
    const version = directory.version(a >> 4);
    if (tasks.armedWord[task] !== a || tasks.armedVersion[task] !== version) {
      tasks.armedWord[task] = a;
      tasks.armedVersion[task] = version;
      accounts[task * stride + Cause.relax] += prices.pause;
      return time + prices.pause;
    }
    const now = directory.read(tasks.cpu[task], a >> 4, time, task * stride);
    tasks.relaxing[task] = 1;
    tasks.seenLow[task] = memory.words[a & ~1];
    tasks.seenHigh[task] = memory.words[a | 1];
    this.#spin(task, a, now);
    return -1;
  }

  /** `line`, which has spinners, was written and can be fetched from `time` on. */
  lineWritten(line: number, time: number): void {
    const { tasks, directory, accounts, stride } = this.#w;
    const last = directory.spinners(line);
    let rest = 0;
    let at = last;
    while (at !== 0) {
      const task = ringFirst(tasks.next, at);
      at = ringShift(tasks.next, at);
      const since = tasks.since[task];
      const from = since > time ? since : time;
      const row = task * stride;
      accounts[row + tasks.column[task]] += from - since;
      const fetched = directory.read(tasks.cpu[task], line, from, row);
      tasks.since[task] = fetched;
      if (this.#changed(task)) this.#resume(task, fetched);
      else rest = ringAppend(tasks.next, rest, task);
    }
    directory.setSpinners(line, rest);
  }

  /** Wakes at most `n` tasks that wait for the word at `a`, at `time`; returns when the waker is done. */
  wake(waker: number, a: number, n: number, time: number): number {
    const { tasks, directory, prices, accounts, stride } = this.#w;
    let left = n;
    if (directory.spinners(a >> 4) !== 0) left = this.#wakeSpinners(a, left, time);
    let sleepers = this.#sleepers.get(a) ?? 0;
    if (sleepers === 0) return time;
    let now = time;
    while (sleepers !== 0 && left-- > 0) {
      const task = ringFirst(tasks.next, sleepers);
      sleepers = ringShift(tasks.next, sleepers);
      now += prices.wake;
      accounts[waker * stride + Cause.wake] += prices.wake;
      this.#awaken(task, now);
    }
    this.#setSleepers(a, sleepers);
    return now;
  }

  /** `task` spins on while its CPU is wanted: it stops spinning, to look again when it has its CPU back. */
  preemptSpinner(task: number, time: number): void {
    const { tasks, directory, accounts, stride } = this.#w;
    const line = tasks.word[task] >> 4;
    directory.setSpinners(line, ringRemove(tasks.next, directory.spinners(line), task));
    accounts[task * stride + tasks.column[task]] += time - tasks.since[task];
    this.#dispatcher.active++;
    this.#dispatcher.preempt(task, Pending.resume, time);
  }

  /** When nothing can run: lets sleepers whose word has changed look again. Returns whether there was one. */
  rescue(): boolean {
    const { tasks, memory } = this.#w;
    const before = this.lostWakes;
    const time = this.#latest() + LOST_WAKE_PS;
    for (const [a, list] of [...this.#sleepers]) {
      let rest = 0;
      for (let at = list; at !== 0; ) {
        const task = ringFirst(tasks.next, at);
        at = ringShift(tasks.next, at);
        if (memory.words[a] === tasks.expected[task]) {
          rest = ringAppend(tasks.next, rest, task);
        } else {
          this.lostWakes++;
          this.#awaken(task, time);
        }
      }
      this.#setSleepers(a, rest);
    }
    return this.lostWakes > before;
  }

  /** Every sleeper looks again at `time`, whatever its word holds. */
  wakeAll(time: number): void {
    const { tasks } = this.#w;
    for (const list of [...this.#sleepers.values()]) {
      for (let at = list; at !== 0; ) {
        const task = ringFirst(tasks.next, at);
        at = ringShift(tasks.next, at);
        this.#awaken(task, time);
      }
    }
    this.#sleepers.clear();
  }

  #spin(task: number, a: number, now: number): void {
    const { tasks, directory, queue, cpus, preemptAnywhere } = this.#w;
    this.#suspend(task, TaskState.spinning, a, now);
    directory.setSpinners(a >> 4, ringAppend(tasks.next, directory.spinners(a >> 4), task));
    const cpu = tasks.cpu[task];
    if (preemptAnywhere && cpus.pinned[cpu] > 1) {
      tasks.pending[task] = Pending.slice;
      queue.replaceTop(Math.max(now, cpus.sliceEnd[cpu]), this.#dispatcher.draw());
    } else {
      queue.removeTop();
    }
  }

  #suspend(task: number, state: TaskState, a: number, now: number): void {
    const { tasks, labels } = this.#w;
    tasks.state[task] = state;
    tasks.word[task] = a;
    const blamed = tasks.blamed[task];
    tasks.column[task] = blamed !== 0 ? blamed : Cause.waiting + labels.columnOf(a);
    tasks.since[task] = now;
    tasks.time[task] = now;
    tasks.pending[task] = Pending.resume;
    this.#dispatcher.active--;
  }

  #changed(task: number): boolean {
    const { tasks, memory } = this.#w;
    const a = tasks.word[task] as Address;
    if (tasks.relaxing[task] === 0) return memory.words[a] !== tasks.expected[task];
    return memory.words[a & ~1] !== tasks.seenLow[task] || memory.words[a | 1] !== tasks.seenHigh[task];
  }

  /** A spinner goes on at `time`. */
  #resume(task: number, time: number): void {
    const { tasks, queue } = this.#w;
    this.#dispatcher.active++;
    tasks.state[task] = TaskState.running;
    tasks.pending[task] = Pending.resume;
    if (queue.has(task)) queue.remove(task);
    queue.push(task, time, this.#dispatcher.draw());
  }

  #wakeSpinners(a: number, n: number, time: number): number {
    const { tasks, directory, accounts, stride } = this.#w;
    let left = n;
    let rest = 0;
    let at = directory.spinners(a >> 4);
    while (at !== 0) {
      const task = ringFirst(tasks.next, at);
      at = ringShift(tasks.next, at);
      if (left > 0 && tasks.word[task] === a && tasks.relaxing[task] === 0) {
        left--;
        const now = Math.max(tasks.since[task], time);
        accounts[task * stride + tasks.column[task]] += now - tasks.since[task];
        this.#resume(task, now);
      } else {
        rest = ringAppend(tasks.next, rest, task);
      }
    }
    directory.setSpinners(a >> 4, rest);
    return left;
  }

  #awaken(task: number, time: number): void {
    const { tasks, accounts, stride, clock, prices } = this.#w;
    const now = Math.max(time, tasks.since[task]);
    accounts[task * stride + tasks.column[task]] += now - tasks.since[task];
    clock.begin(task, now);
    this.#dispatcher.active++;
    this.#dispatcher.ready(task, now, prices.wakeup);
  }

  #setSleepers(a: number, list: number): void {
    if (list === 0) this.#sleepers.delete(a);
    else this.#sleepers.set(a, list);
  }

  #latest(): number {
    const { tasks } = this.#w;
    let latest = 0;
    for (let task = 0; task < tasks.count; task++) latest = Math.max(latest, tasks.time[task]);
    return latest;
  }
}
