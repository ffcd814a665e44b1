/**
 * What happened before what in the execution at hand: vector clocks, one row a step, and for each granule the chain of its
 * accesses, newest first. Both grow with the execution and shrink when the search goes back, so that a step that two
 * executions share is analysed once.
 */
import { StepKind } from '../../../machine/point.ts';
import { ACCESS_OF_STEP, Access, isConditional, satisfied } from '../access.ts';
import type { Execution } from '../execution.ts';
import { BufferedMemory } from '../store-buffers.ts';
import { wider } from '../wider.ts';

/** How many choices of counts to leave out are tried when a waiting step is reversed with them. */
const COUNT_CHOICES_MAX = 4096;

export class HappensBefore {
  readonly execution: Execution;
  readonly tasks: number;
  /** Races found since {@link clearRaces}: the earlier step, the later one, and all earlier ones where there are several. */
  readonly raceFirst: number[] = [];
  readonly raceSecond: number[] = [];
  readonly raceSet: (readonly number[] | null)[] = [];
  /** Whether a reversal was left out because too many counts would have to be tried: the search is not complete then. */
  approximate = false;

  /** For each step: its number among its task's steps, from 1. */
  seq = new Int32Array(256);
  clock: Int32Array;
  #previousOfTask = new Int32Array(256);
  #previousOfGranule = new Int32Array(256);
  /** The granule before and after the step. */
  #beforeLo = new Int32Array(256);
  #beforeHi = new Int32Array(256);
  #afterLo = new Int32Array(256);
  #afterHi = new Int32Array(256);
  /** What a conditional step waited for: see `satisfied`. */
  #expected = new Int32Array(256);
  readonly #lastOfTask: Int32Array;
  readonly #head: Int32Array;
  readonly #base: Int32Array;
  readonly #words: Int32Array;
  readonly #tso: boolean;
  /** The step after which the thread stored what the step at hand drains, or -1. */
  #drainAfter = -1;
  /** The value that {@link #valueWithout} computed. */
  #lo = 0;
  #hi = 0;

  constructor(execution: Execution) {
    this.execution = execution;
    this.tasks = execution.taskCount;
    this.clock = new Int32Array(256 * this.tasks);
    this.#lastOfTask = new Int32Array(this.tasks).fill(-1);
    this.#words = execution.memory.words;
    this.#head = new Int32Array(this.#words.length / 2).fill(-1);
    this.#base = new Int32Array(this.tasks);
    this.#tso = execution.memory instanceof BufferedMemory;
  }

  clearRaces(): void {
    this.raceFirst.length = 0;
    this.raceSecond.length = 0;
    this.raceSet.length = 0;
  }

  /** Notes the state before task `t` takes step `j`. */
  before(j: number, t: number): void {
    const { execution } = this;
    if (j + 1 >= this.seq.length) this.#grow();
    let a: number;
    if (t < execution.threadCount) {
      const step = execution.pending[t];
      a = (step >>> 5) << 1;
      this.#expected[j] = execution.expected[t];
    } else {
      const { buffers } = execution.memory as BufferedMemory;
      const store = buffers[t - execution.threadCount][0];
      a = store.address & ~1;
      this.#drainAfter = store.after;
    }
    this.#beforeLo[j] = this.#words[a];
    this.#beforeHi[j] = this.#words[a + 1];
  }

  /** Adds step `j`, which was just taken, and its races if `races`. */
  append(j: number, races: boolean): void {
    const { execution, tasks, clock, seq } = this;
    const t = execution.task[j];
    const access = execution.access[j];
    const g = access >> 2;
    this.#afterLo[j] = this.#words[2 * g];
    this.#afterHi[j] = this.#words[2 * g + 1];
    this.#begin(j, t);
    this.#previousOfGranule[j] = this.#head[g];
    const row = j * tasks;
    const kind = access & 3;
    const conditional = isConditional(execution.step[j] & 15);
    if (conditional) for (let i = 0; i < tasks; i++) this.#base[i] = clock[row + i];
    const found = races && !conditional;
    let e = this.#head[g];
    const { access: accesses, task } = execution;
    while (e >= 0) {
      const k = accesses[e] & 3;
      if ((k | kind) >= Access.write && (k !== kind || k === Access.write)) {
        if (clock[row + task[e]] < seq[e]) {
          if (found) this.#race(e, j, null);
          this.#join(row, e * tasks);
        }
        if (k === Access.write) break;
      }
      e = this.#previousOfGranule[e];
    }
    if (conditional && races) this.#racesOfConditional(j, execution.step[j], kind);
    // Nobody need come before or after an `until` that is over.
    if (kind !== Access.until) this.#head[g] = j;
    this.#previousOfTask[j] = this.#lastOfTask[t];
    this.#lastOfTask[t] = j;
  }

  /** Takes steps `from` to `to - 1` back, newest first. */
  retract(from: number, to: number): void {
    const { access, task } = this.execution;
    for (let j = to - 1; j >= from; j--) {
      this.#head[access[j] >> 2] = this.#previousOfGranule[j];
      this.#lastOfTask[task[j]] = this.#previousOfTask[j];
    }
  }

  /**
   * Finds the races of a thread that waits for ever at the end of an execution of `n` steps, as if it took its step last:
   * the orders in which it would not have had to wait. The step is entered behind the last one, and forgotten.
   */
  racesOfBlocked(n: number, t: number): void {
    const { execution, tasks, clock } = this;
    const step = execution.pending[t];
    const kind = step & 15;
    if (!isConditional(kind)) return;
    if (n + 1 >= this.seq.length) this.#grow();
    execution.reserve(n + 1);
    const g = step >>> 5;
    execution.task[n] = t;
    execution.step[n] = step;
    execution.access[n] = (g << 2) | ACCESS_OF_STEP[kind];
    execution.exchange[n] = 0;
    execution.spins[n] = null;
    execution.fence[n] = 0;
    this.#expected[n] = execution.expected[t];
    this.#beforeLo[n] = this.#words[2 * g];
    this.#beforeHi[n] = this.#words[2 * g + 1];
    this.#begin(n, t);
    for (let i = 0; i < tasks; i++) this.#base[i] = clock[n * tasks + i];
    this.#previousOfGranule[n] = this.#head[g];
    this.#racesOfConditional(n, step, execution.access[n] & 3);
  }

  /** Whether step `e` happens before step `j`. */
  precedes(e: number, j: number): boolean {
    return this.clock[j * this.tasks + this.execution.task[e]] >= this.seq[e];
  }

  /** Whether step `w` happens after one of `set` (or is one of them). */
  follows(w: number, first: number, set: readonly number[] | null): boolean {
    if (set === null) return this.precedes(first, w);
    for (const e of set) if (this.precedes(e, w)) return true;
    return false;
  }

  /**
   * Whether step `j` can really be taken without the steps that happen after `first` (or after any of `set`): a spinning
   * thread needs a write that it has not seen.
   */
  reversible(first: number, j: number, set: readonly number[] | null): boolean {
    const spins = this.execution.spins[j];
    if (spins === null) return true;
    const { access } = this.execution;
    for (let s = 0; s < spins.length; s += 2) {
      let written = false;
      for (let e = this.#head[spins[s]]; e >= spins[s + 1] && !written; e = this.#previousOfGranule[e]) {
        if (e < j && (access[e] & 2) !== 0) written = e < first || !this.follows(e, first, set);
      }
      if (!written) return false;
    }
    return true;
  }

  /** The access that step `j` comes to without those: a compare-and-exchange may now succeed, or fail. */
  reversedAccess(first: number, j: number, set: readonly number[] | null): number {
    const { access, exchange, exchangeLo, exchangeHi, step } = this.execution;
    const g = access[j] >> 2;
    if (exchange[j] === 0) return access[j];
    this.#valueWithout(first, j, set);
    const odd = (step[j] >>> 4) & 1;
    const equal =
      exchange[j] === 2
        ? this.#lo === exchangeLo[j] && this.#hi === exchangeHi[j]
        : (odd ? this.#hi : this.#lo) === exchangeLo[j];
    return (g << 2) | (equal ? Access.write : Access.read);
  }

  #begin(j: number, t: number): void {
    const { clock, tasks, seq, execution } = this;
    const row = j * tasks;
    const previous = this.#lastOfTask[t];
    if (previous < 0) {
      for (let i = 0; i < tasks; i++) clock[row + i] = 0;
      seq[j] = 1;
    } else {
      const from = previous * tasks;
      for (let i = 0; i < tasks; i++) clock[row + i] = clock[from + i];
      seq[j] = seq[previous] + 1;
    }
    clock[row + t] = seq[j];
    if (this.#tso) this.#joinBuffer(j, t);
    const spins = execution.spins[j];
    if (spins !== null) this.#joinSpins(j, spins);
  }

  /** A drain comes after what its thread had done before the store; an atomic step or a fence after all drains. */
  #joinBuffer(j: number, t: number): void {
    const { execution, tasks } = this;
    const threads = execution.threadCount;
    if (t >= threads) {
      const after = this.#drainAfter;
      if (after >= 0) this.#join(j * tasks, after * tasks);
      return;
    }
    let drain = this.#lastOfTask[t + threads];
    if ((execution.step[j] & 15) === StepKind.Read) {
      while (drain >= execution.fence[j]) drain = this.#previousOfTask[drain];
    }
    if (drain >= 0) this.#join(j * tasks, drain * tasks);
  }

  #joinSpins(j: number, spins: readonly number[]): void {
    const { access } = this.execution;
    for (let s = 0; s < spins.length; s += 2) {
      let first = -1;
      for (let e = this.#head[spins[s]]; e >= spins[s + 1]; e = this.#previousOfGranule[e]) {
        if ((access[e] & 2) !== 0) first = e;
      }
      if (first < 0 || this.precedes(first, j)) continue;
      if ((access[first] & 3) === Access.count) this.#race(first, j, null);
      this.#join(j * this.tasks, first * this.tasks);
    }
  }

  #join(row: number, from: number): void {
    const { clock, tasks } = this;
    for (let i = 0; i < tasks; i++) if (clock[from + i] > clock[row + i]) clock[row + i] = clock[from + i];
  }

  #race(first: number, second: number, set: readonly number[] | null): void {
    this.raceFirst.push(first);
    this.raceSecond.push(second);
    this.raceSet.push(set);
  }

  /**
   * A step that waits for a value can only go before another where it finds a value to its liking there. So we look back
   * along the word's history for the last place where it would not have had to wait. For an `until`, the first place will do: it
   * has waited for least there, and whatever can happen with more of it done can still happen.
   */
  #racesOfConditional(j: number, step: number, kind: number): void {
    const { access, task } = this.execution;
    const { seq } = this;
    const base = this.#base;
    let counts: number[] = [];
    let first = -1;
    let e = this.#head[step >>> 5];
    for (; e >= 0; e = this.#previousOfGranule[e]) {
      const k = access[e] & 3;
      if ((k | kind) < Access.write || (k === kind && k !== Access.write)) continue;
      const known = base[task[e]] >= seq[e];
      if (k === Access.write) {
        const found = counts.length > 0 && this.#raceWithCounts(counts, j, step);
        if (known || (found && kind !== Access.until)) break;
        counts = [];
        if (!this.#satisfiedWithout(e, j, null, step)) continue;
        if (kind === Access.until) {
          first = e;
        } else {
          this.#race(e, j, null);
          return;
        }
      } else if (known) {
      } else if (k === Access.count) {
        counts.push(e);
      } else if (this.#satisfiedWithout(e, j, null, step)) {
        this.#race(e, j, null);
      }
    }
    if (first >= 0) this.#race(first, j, null);
    if (e < 0 && counts.length > 0) this.#raceWithCounts(counts, j, step);
  }

  /**
   * Tries to leave out some of the `counts` (newest first), which commute with one another: the last ones of each task, as few as
   * will do. Whether any would.
   */
  #raceWithCounts(counts: readonly number[], j: number, step: number): boolean {
    const byTask = new Map<number, number[]>();
    for (const e of counts) {
      const task = this.execution.task[e];
      const own = byTask.get(task);
      if (own === undefined) byTask.set(task, [e]);
      else own.push(e);
    }
    const lists = [...byTask.values()];
    const choices = lists.reduce((product, list) => product * (list.length + 1), 1);
    const found: number[][] = [];
    const left = lists.map(() => 0);
    for (let choice = 1; choice < choices; choice++) {
      if (choice > COUNT_CHOICES_MAX) {
        this.approximate = true;
        break;
      }
      for (let i = 0; ++left[i] > lists[i].length; i++) left[i] = 0;
      if (found.some((less) => less.every((n, i) => n <= left[i]))) continue;
      const set = lists.flatMap((list, i) => list.slice(0, left[i]));
      const first = Math.min(...set);
      if (!this.#satisfiedWithout(first, j, set, step)) continue;
      this.#race(first, j, set);
      found.push([...left]);
    }
    return found.length > 0;
  }

  #satisfiedWithout(first: number, j: number, set: readonly number[] | null, step: number): boolean {
    this.#valueWithout(first, j, set);
    return satisfied(step & 15, (step >>> 4) & 1 ? this.#hi : this.#lo, this.#expected[j]);
  }

  /** The granule of step `j` as it would find it without `first` (or all of `set`) and what happens after them. */
  #valueWithout(first: number, j: number, set: readonly number[] | null): void {
    const { access } = this.execution;
    let lo = this.#beforeLo[first];
    let hi = this.#beforeHi[first];
    for (let e = this.#previousOfGranule[j]; e > first; e = this.#previousOfGranule[e]) {
      if ((access[e] & 3) !== Access.count || this.follows(e, first, set)) continue;
      lo += this.#afterLo[e] - this.#beforeLo[e];
      hi += this.#afterHi[e] - this.#beforeHi[e];
    }
    this.#lo = lo | 0;
    this.#hi = hi | 0;
  }

  #grow(): void {
    this.seq = wider(this.seq);
    this.clock = wider(this.clock);
    this.#previousOfTask = wider(this.#previousOfTask);
    this.#previousOfGranule = wider(this.#previousOfGranule);
    this.#beforeLo = wider(this.#beforeLo);
    this.#beforeHi = wider(this.#beforeHi);
    this.#afterLo = wider(this.#afterLo);
    this.#afterHi = wider(this.#afterHi);
    this.#expected = wider(this.#expected);
  }
}
