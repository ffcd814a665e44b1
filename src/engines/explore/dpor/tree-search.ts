/**
 * Exhaustive search by running executions from the start, one per equivalence class: optimal dynamic partial order
 * reduction with wakeup trees, source sets with sleep sets, or no reduction at all.
 *
 * Mirrors Abdulla, Aronis, Jonsson, Sagonas (J. ACM 2017): races are looked for when an execution is at its end; each is
 * reversed by a sequence that goes into the wakeup tree of the state before its first step, unless a sleeping task makes it
 * redundant. Waits follow their idea of blocking: a waiting step is reversed only with what would let it go (see
 * `happens-before.ts`). Only races whose second step is new since the last execution are looked at: the others were
 * reversed when they were new.
 *
 * A search works on one *item*: a subtree, given by the path to it and by what sleeps and waits to be explored along the
 * path. Reversals that belong above the subtree are reported to the owner of the path.
 */
import { InvariantError } from '../../../machine/invariant.ts';
import { Access } from '../access.ts';
import type { Execution } from '../execution.ts';
import { judge, toFinding } from '../judge.ts';
import type { Finding } from '../program.ts';
import { wider } from '../wider.ts';
import { Choices } from './choices.ts';
import { HappensBefore } from './happens-before.ts';
import { SleepSets } from './sleep-sets.ts';
import { type Branch, insertSequence, insertSource, Sequence } from './wakeup-tree.ts';

export type Reduction = 'optimal' | 'source' | 'none';

export interface SearchBounds {
  /** Switches away from a task that could go on. */
  readonly preemptions: number;
  /** Steps of an execution. */
  readonly depth: number;
}

/**
 * What sleeps (pairs of task and access, the task complemented where its branch is being explored by others: see `Frontier`) and
 * what is still to be explored at one state of a path.
 */
export interface Level {
  readonly sleep: number[];
  readonly pending: Branch[];
}

/** A subtree to be explored. */
export interface WorkItem {
  /** The tasks of the steps that lead to it. */
  readonly path: readonly number[];
  /** The state before each of them. */
  readonly levels: readonly Level[];
  /** How the subtree is to begin. */
  readonly guide: readonly Branch[];
}

/** A level that a searcher gives away, with the step that it itself goes on by. */
export interface GivenLevel extends Level {
  readonly task: number;
  readonly access: number;
}

/** How one run of the search ended. */
export type RunEnd = 'complete' | 'deadlock' | 'failed' | 'blocked' | 'preemptions' | 'depth';

export const ROOT_ITEM: WorkItem = { path: [], levels: [], guide: [] };

export class TreeSearch {
  readonly execution: Execution;
  readonly reduction: Reduction;
  readonly bounds: SearchBounds;
  readonly order: HappensBefore;
  /** What the last run broke, if anything. */
  finding: Finding | null = null;
  /** Told of reversals that belong above the item: depth of the state and the sequence. */
  onReversal: ((depth: number, sequence: Sequence) => void) | null = null;

  /** Steps of the last run. */
  #length = 0;
  /** States of the last run whose branches are to be gone through: one more than steps where a bound forbade the last step. */
  #levels = 0;
  /** Step at which the next run leaves the last one. */
  #from = 0;
  #branch: Branch | null = null;
  #item: WorkItem = ROOT_ITEM;
  /** The item's first state that is this search's own. */
  #base = 0;
  #fresh = true;
  #raceFrom = 0;
  readonly #choices: Choices;
  readonly #sleep: SleepSets;
  /** Branches already explored at each level of this search's own. */
  #explored = new Int32Array(256);
  readonly #pending: Branch[][] = [];
  readonly #sequence = new Sequence();

  constructor(execution: Execution, reduction: Reduction, bounds: SearchBounds) {
    this.execution = execution;
    this.reduction = reduction;
    this.bounds = bounds;
    this.order = new HappensBefore(execution);
    this.#sleep = new SleepSets(execution.taskCount);
    this.#choices = new Choices(execution, reduction === 'none' ? null : this.#sleep, bounds.preemptions);
  }

  /** Without reduction: whether the bound of preemptions has kept a choice from being tried since the last call. */
  takePreemptionsForbidden(): boolean {
    const { forbidden } = this.#choices;
    this.#choices.forbidden = false;
    return forbidden;
  }

  /** Takes up a subtree. */
  load(item: WorkItem): void {
    if (this.reduction !== 'none') this.order.retract(0, this.#length);
    this.#item = item;
    this.#base = item.path.length;
    this.#fresh = true;
    this.#from = 0;
    this.#length = 0;
    this.#branch = null;
    this.#raceFrom = Math.max(0, this.#base - 1);
    for (let i = 0; i < this.#base; i++) this.#setLevel(i, item.levels[i]);
  }

  /** Runs one execution. Call {@link advance} before the next. */
  run(): RunEnd {
    const end = this.#run();
    this.#levels = end === 'preemptions' ? this.#length + 1 : this.#length;
    if (this.reduction !== 'none') {
      const daemonsWait = this.execution.live > 0 && this.execution.complete;
      this.#reverseRaces(end === 'deadlock' || end === 'blocked' || daemonsWait);
    }
    return end;
  }

  /** Goes back to the deepest state with something left to explore; false where there is none. */
  advance(): boolean {
    const { execution } = this;
    let i = this.#levels - 1;
    while (i >= this.#base && this.#pending[i].length === 0) i--;
    const reducing = this.reduction !== 'none';
    const keep = Math.max(i, 0);
    const taken = i < this.#length;
    if (reducing) this.order.retract(keep, this.#length);
    this.#length = keep;
    if (i < this.#base) return false;
    if (reducing && taken) this.#sleep.add(i, execution.task[i], execution.access[i]);
    this.#explored[i]++;
    this.#branch = this.#pending[i].shift() as Branch;
    this.#from = i;
    this.#raceFrom = i;
    return true;
  }

  /**
   * The share of the item explored so far, as the branches known at present tell: an estimate, and a poor one, since branches
   * are still being found.
   */
  share(): number {
    let share = 0;
    let weight = 1;
    for (let i = this.#base; i < this.#length; i++) {
      const known = this.#explored[i] + 1 + this.#pending[i].length;
      share += (weight * this.#explored[i]) / known;
      weight /= known;
    }
    return share;
  }

  /** Gives away the shallowest state with unexplored branches, and those above it: null where there is none worth it. */
  give(): GivenLevel[] | null {
    let i = this.#base;
    while (i < this.#length && this.#pending[i].length === 0) i++;
    return i < this.#length - 2 ? this.#giveUpTo(i) : null;
  }

  /** Gives away everything that is left after the last run. */
  giveAll(): GivenLevel[] {
    let i = this.#levels - 1;
    while (i >= this.#base && this.#pending[i].length === 0) i--;
    return i < this.#base ? [] : this.#giveUpTo(i);
  }

  #giveUpTo(last: number): GivenLevel[] {
    const { task, access } = this.execution;
    const given: GivenLevel[] = [];
    for (let i = this.#base; i <= last; i++) {
      const sleep = this.#sleep.list(i);
      const taken = i < this.#length;
      given.push({ sleep, pending: structuredClone(this.#pending[i]), task: taken ? task[i] : -1, access: access[i] });
    }
    this.#base = last + 1;
    return given;
  }

  #setLevel(i: number, level: Level): void {
    this.#reserve(i);
    this.#sleep.set(i, level.sleep);
    this.#pending[i] = level.pending;
    this.#explored[i] = 0;
  }

  #run(): RunEnd {
    const { execution, order } = this;
    const from = this.#from;
    const reducing = this.reduction !== 'none';
    this.finding = null;
    this.order.clearRaces();
    try {
      execution.start();
    } catch (error) {
      this.finding = toFinding(error);
      this.#length = 0;
      return 'failed';
    }
    this.#repeat(from);
    const path = this.#fresh ? this.#item.path : null;
    this.#fresh = false;
    let guide: readonly Branch[] = path !== null ? this.#item.guide : [];
    const first = this.#branch;
    if (first !== null) guide = first.children;
    let last = this.#choices.lastTask(from);
    for (let i = from; ; i++) {
      this.#length = i;
      this.#reserve(i);
      let t: number;
      if (path !== null && i < path.length) {
        t = path[i];
      } else if (first !== null && i === from) {
        t = first.task;
      } else {
        if (i === 0) this.#sleep.set(0, []);
        this.#explored[i] = 0;
        if (guide.length > 0) {
          const next = guide[0];
          this.#pending[i] = guide.slice(1);
          guide = next.children;
          t = next.task;
        } else {
          this.#pending[i] = [];
          t = this.#choices.next(i, last, this.#pending[i]);
          if (t < 0) return execution.complete ? this.#judge() : t === -2 ? 'blocked' : this.#judgeDeadlock();
        }
      }
      if (!execution.enabled(t)) {
        throw new InvariantError('nondeterminism', `step ${i} by ${execution.taskName(t)} cannot be taken when repeated`);
      }
      if (i >= this.bounds.depth) return 'depth';
      if (!this.#choices.mayTake(i, last, t)) return 'preemptions';
      if (reducing) order.before(i, t);
      try {
        execution.take(t);
      } catch (error) {
        this.finding = toFinding(error);
      }
      this.#length = i + 1;
      if (reducing) {
        order.append(i, i >= this.#raceFrom);
        if (path === null || i + 1 >= path.length) this.#sleep.inherit(i, t, execution.access[i]);
      }
      if (this.finding !== null) {
        this.#reserve(i + 1);
        return 'failed';
      }
      if ((execution.access[i] & 3) !== Access.until) last = t;
    }
  }

  /** Takes the first `count` steps of the last run again. */
  #repeat(count: number): void {
    const { execution } = this;
    const { task, step } = execution;
    for (let i = 0; i < count; i++) {
      const expected = step[i];
      execution.take(task[i]);
      if (step[i] !== expected) {
        throw new InvariantError(
          'nondeterminism',
          `the program is not deterministic: ${execution.taskName(task[i])} takes another step ${i} when repeated`,
        );
      }
    }
  }

  #judge(): RunEnd {
    this.finding = judge(this.execution);
    return this.finding === null ? 'complete' : 'failed';
  }

  #judgeDeadlock(): RunEnd {
    if (this.execution.program.mayDeadlock !== true) this.finding = this.execution.describeBlocked();
    return 'deadlock';
  }

  #reverseRaces(stuck: boolean): void {
    const { order, execution } = this;
    const n = this.#length;
    this.#reverseAll(n);
    if (!stuck) return;
    for (let t = 0; t < execution.threadCount; t++) {
      if (execution.pending[t] < 0 || execution.enabled(t)) continue;
      order.clearRaces();
      order.racesOfBlocked(n, t);
      this.#reverseAll(n);
    }
  }

  #reverseAll(n: number): void {
    const { order } = this;
    for (let r = 0; r < order.raceFirst.length; r++) this.#reverse(order.raceFirst[r], order.raceSecond[r], order.raceSet[r], n);
  }

  /** Sees to it that step `second` is also taken without `first` (or all of `set`) and what happens after them. */
  #reverse(first: number, second: number, set: readonly number[] | null, n: number): void {
    const { order, execution } = this;
    if (!order.reversible(first, second, set)) return;
    const sequence = this.#sequence;
    sequence.length = 0;
    const { task, access } = execution;
    if (set === null) {
      const { clock, seq, tasks } = order;
      const column = task[first];
      const since = seq[first];
      for (let k = first + 1; k < n; k++) {
        if (clock[k * tasks + column] < since) sequence.push(task[k], access[k]);
      }
    } else {
      for (let k = first + 1; k < n; k++) if (!order.follows(k, first, set)) sequence.push(task[k], access[k]);
    }
    sequence.push(task[second], order.reversedAccess(first, second, set));
    const optimal = this.reduction === 'optimal';
    if (this.#sleep.covers(first, sequence, optimal)) return;
    const insert = optimal ? insertSequence : insertSource;
    if (first >= this.#base) insert(this.#pending[first], sequence);
    else this.#report(first, sequence, insert);
  }

  /** The state belongs to somebody else. Our copy of its branches keeps us from saying the same thing twice. */
  #report(depth: number, sequence: Sequence, insert: typeof insertSequence): void {
    const copy = new Sequence();
    for (let i = 0; i < sequence.length; i++) copy.push(sequence.task[i], sequence.access[i]);
    if (insert(this.#pending[depth], sequence)) this.onReversal?.(depth, copy);
  }

  #reserve(i: number): void {
    while (i + 1 >= this.#explored.length) {
      this.#explored = wider(this.#explored);
    }
  }
}
