/** Tells how far a search has come, at intervals. */
import type { ExploreOptions } from './options.ts';
import type { Program } from './program.ts';
import { now_s } from './stop.ts';
import type { Tally } from './tally.ts';

/** Estimates of the total that are kept for their spread. */
const ESTIMATES = 8;

export class ProgressMeter {
  readonly #options: ExploreOptions;
  readonly #program: Program;
  readonly #started_s = now_s();
  #last_s = now_s();
  #lastExecutions = 0;
  readonly #totals: number[] = [];

  constructor(options: ExploreOptions, program: Program) {
    this.#options = options;
    this.#program = program;
  }

  /** Reports if it is time. `share` is asked only then. */
  tick(tally: Tally, share: () => number | null): void {
    const { onProgress, progressEvery_ms } = this.#options;
    if (onProgress === null) return;
    const now = now_s();
    if ((now - this.#last_s) * 1000 < progressEvery_ms) return;
    const explored = share();
    const total = explored === null ? null : this.#estimate(tally.executions, explored);
    const rate = (tally.executions - this.#lastExecutions) / (now - this.#last_s);
    this.#last_s = now;
    this.#lastExecutions = tally.executions;
    onProgress({
      executions: tally.executions,
      blocked: tally.blocked,
      seconds: now - this.#started_s,
      rate,
      depth: tally.stepsMax,
      share: explored,
      total,
      states: tally.states.size,
      findings: tally.failures.size,
      missingMarks: (this.#program.marks ?? []).filter((m) => !tally.marks.has(m)),
    });
  }

  #estimate(executions: number, share: number): readonly [number, number] {
    const totals = this.#totals;
    totals.push(share > 0 ? Math.max(executions, executions / share) : Number.POSITIVE_INFINITY);
    if (totals.length > ESTIMATES) totals.shift();
    return [Math.min(...totals), Math.max(...totals)];
  }
}
