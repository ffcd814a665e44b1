/** When a search ends before it has seen everything: limits, the user, enough findings. */
import type { ExploreOptions } from './options.ts';
import type { Tally } from './tally.ts';

/** Why a search ended: it had nothing left to do, or it was stopped. */
export type StopReason = 'end' | 'time' | 'executions' | 'signal' | 'findings';

/** Now, in seconds, from an arbitrary start. */
export const now_s = (): number => performance.now() / 1000;

export class StopCheck {
  readonly started_s = now_s();
  readonly #options: ExploreOptions;

  constructor(options: ExploreOptions) {
    this.#options = options;
  }

  get elapsed_s(): number {
    return now_s() - this.started_s;
  }

  /** Why the search is to stop now, or null. */
  reason(tally: Tally): StopReason | null {
    if (this.#options.signal?.aborted) return 'signal';
    if (tally.failures.size >= this.#options.findings) return 'findings';
    if (tally.executions >= this.#options.executions) return 'executions';
    if (this.elapsed_s >= this.#options.seconds) return 'time';
    return null;
  }
}
