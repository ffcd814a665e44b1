/**
 * Cuts a failing schedule down: fewest context switches first, then fewest steps.
 *
 * Delta debugging on the schedule: leave out a run of steps, let it join a later or an earlier run of its task, drop the end, leave
 * out single steps; each attempt is replayed (what is missing, the replay fills in) and kept where the same rule breaks at less
 * cost. At last a search with bounded preemptions looks for a schedule with fewer of them than the best one has.
 */
import type { Execution } from './execution.ts';
import type { Finding } from './program.ts';
import { Sampler } from './sampler.ts';
import { Exhaustive } from './schedulers/exhaustive.ts';
import { Replay } from './schedulers/replay.ts';

export interface ShrinkBounds {
  /** Replays at most. */
  readonly replays: number;
  /** Executions of the bounded search at most. */
  readonly executions: number;
  /** Steps of an execution at most. */
  readonly depth: number;
}

export const SHRINK_BOUNDS: ShrinkBounds = { replays: 20_000, executions: 20_000, depth: 10_000 };

export interface Shrunk {
  readonly schedule: number[];
  readonly finding: Finding;
  readonly switches: number;
  /** Replays and bounded executions that it took. */
  readonly attempts: number;
}

/** Context switches of a schedule. */
export function switchesOf(schedule: readonly number[]): number {
  let n = 0;
  for (let i = 1; i < schedule.length; i++) if (schedule[i] !== schedule[i - 1]) n++;
  return n;
}

/** Shrinks a schedule that breaks `rule`; null where replaying it does not break the rule. */
export function shrink(
  execution: Execution,
  schedule: readonly number[],
  rule: string,
  seed = 0,
  bounds: ShrinkBounds = SHRINK_BOUNDS,
): Shrunk | null {
  const shrinker = new Shrinker(execution, rule, seed, bounds);
  if (!shrinker.attempt(schedule)) return null;
  shrinker.reduce();
  shrinker.searchFewerPreemptions();
  shrinker.reduce();
  return shrinker.result();
}

class Shrinker {
  readonly #execution: Execution;
  readonly #rule: string;
  readonly #bounds: ShrinkBounds;
  readonly #replay: Replay;
  readonly #sampler: Sampler;
  #best: number[] = [];
  #finding: Finding | null = null;
  #attempts = 0;

  constructor(execution: Execution, rule: string, seed: number, bounds: ShrinkBounds) {
    this.#execution = execution;
    this.#rule = rule;
    this.#bounds = bounds;
    this.#replay = new Replay([], seed);
    this.#sampler = new Sampler(execution, this.#replay, bounds.depth);
  }

  result(): Shrunk {
    return {
      schedule: this.#best,
      finding: this.#finding as Finding,
      switches: switchesOf(this.#best),
      attempts: this.#attempts,
    };
  }

  /** Replays a schedule and keeps what it came to if that is better. */
  attempt(schedule: readonly number[]): boolean {
    if (this.#attempts >= this.#bounds.replays) return false;
    this.#attempts++;
    this.#replay.follow(schedule);
    this.#sampler.run();
    return this.#keep(this.#sampler.finding);
  }

  #keep(finding: Finding | null): boolean {
    if (finding?.rule !== this.#rule) return false;
    const taken = this.#execution.schedule();
    if (this.#finding !== null && !isCheaper(taken, this.#best)) return false;
    this.#best = taken;
    this.#finding = finding;
    return true;
  }

  reduce(): void {
    while (this.#attempts < this.#bounds.replays && this.#pass());
  }

  /** Tries every simplification of the best schedule once; true where one helped. */
  #pass(): boolean {
    const runs = runsOf(this.#best);
    for (let i = 0; i < runs.length; i++) {
      if (this.attempt(flatten(runs.slice(0, i)))) return true;
      if (this.attempt(flatten(runs.toSpliced(i, 1)))) return true;
      for (let j = i + 2; j < runs.length; j++) {
        if (runs[j].task !== runs[i].task) continue;
        const joined = { task: runs[i].task, steps: runs[i].steps + runs[j].steps };
        if (this.attempt(flatten(runs.toSpliced(j, 1, joined).toSpliced(i, 1)))) return true;
        if (this.attempt(flatten(runs.toSpliced(j, 1).toSpliced(i, 1, joined)))) return true;
      }
    }
    for (let i = 0; i < this.#best.length; i++) if (this.attempt(this.#best.toSpliced(i, 1))) return true;
    return false;
  }

  searchFewerPreemptions(): void {
    let left = this.#bounds.executions;
    const limit = switchesOf(this.#best);
    for (let preemptions = 0; preemptions < limit && left > 0; preemptions++) {
      const sampler = new Sampler(this.#execution, new Exhaustive(preemptions), this.#bounds.depth);
      for (; left > 0 && sampler.run() !== null; left--) {
        this.#attempts++;
        if (this.#keep(sampler.finding)) return;
      }
    }
  }
}

interface Run {
  readonly task: number;
  readonly steps: number;
}

function runsOf(schedule: readonly number[]): Run[] {
  const runs: Run[] = [];
  for (let i = 0; i < schedule.length; ) {
    let n = 1;
    while (schedule[i + n] === schedule[i]) n++;
    runs.push({ task: schedule[i], steps: n });
    i += n;
  }
  return runs;
}

function flatten(runs: readonly Run[]): number[] {
  return runs.flatMap((r) => new Array<number>(r.steps).fill(r.task));
}

function isCheaper(a: readonly number[], b: readonly number[]): boolean {
  const difference = switchesOf(a) - switchesOf(b);
  return difference < 0 || (difference === 0 && a.length < b.length);
}
