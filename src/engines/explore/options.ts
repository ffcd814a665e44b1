/** What can be asked of a search, with all defaults in one record, and the checks of what contradicts itself. */
import type { Reduction } from './dpor/tree-search.ts';
import type { MemoryModel } from './program.ts';

/** Who decides: one policy a file under `schedulers/`, or `exhaustive`, the search for every trace. */
export type Policy = 'exhaustive' | 'random' | 'pct' | 'partial-order' | 'round-robin';

export const POLICIES: readonly Policy[] = ['exhaustive', 'random', 'pct', 'partial-order', 'round-robin'];

/** The part of the options that workers need: plain data. */
export interface SearchOptions {
  readonly policy: Policy;
  /**
   * Of the exhaustive search. `none` tries every interleaving. The default is `optimal`; but `none` where preemptions are bounded:
   * the one interleaving of a trace that a reduction tries may take more of them than another one.
   */
  readonly reduction: Reduction;
  readonly memory: MemoryModel;
  /** Bound of the exhaustive search: switches away from a thread that could go on. */
  readonly preemptions: number;
  /** Steps after which an execution is given up. */
  readonly depth: number;
  /** Of the random policies. */
  readonly seed: number;
  /** Ordering constraints that PCT aims at. */
  readonly pctDepth: number;
  /** Whether distinct final states are counted. */
  readonly states: boolean;
  /** One in so many passing executions is run twice, to see whether the program is deterministic; 0: none. Failing ones all are. */
  readonly repeatEvery: number;
  /** The search ends when so many distinct rules are broken. */
  readonly findings: number;
}

export interface ExploreOptions extends SearchOptions {
  /** Stop after so many executions. */
  readonly executions: number;
  /** Stop after so many seconds. */
  readonly seconds: number;
  /** Worker threads; 1 searches in this thread. More need a program given by module. */
  readonly jobs: number;
  /** The workers' entry, where it is not the package's own. */
  readonly worker: URL | null;
  /** Whether failing schedules are cut down. */
  readonly shrink: boolean;
  /** File that a search which did not end is written to, or null. */
  readonly checkpoint: string | null;
  /** File of an earlier search to go on with, or null. */
  readonly resume: string | null;
  /** Stops the search. */
  readonly signal: AbortSignal | null;
  readonly onProgress: ((progress: Progress) => void) | null;
  /** Milliseconds between two calls of `onProgress`. */
  readonly progressEvery_ms: number;
}

/** How far a search has come. */
export interface Progress {
  readonly executions: number;
  readonly blocked: number;
  readonly seconds: number;
  /** Executions a second since the last report. */
  readonly rate: number;
  /** Steps of the longest execution. */
  readonly depth: number;
  /** Estimated share of the tree that is explored (0 to 1), or null where the policy has no end. */
  readonly share: number | null;
  /** The lowest and the highest estimate of the number of executions there are, of the last few reports; null as above. */
  readonly total: readonly [number, number] | null;
  readonly states: number;
  readonly findings: number;
  /** Marks of the program that no execution has come by. */
  readonly missingMarks: readonly string[];
}

export const EXPLORE_DEFAULTS: ExploreOptions = {
  policy: 'exhaustive',
  reduction: 'optimal',
  memory: 'sc',
  preemptions: Number.POSITIVE_INFINITY,
  depth: 10_000,
  seed: 1,
  pctDepth: 3,
  states: true,
  repeatEvery: 1000,
  findings: 1,
  executions: Number.POSITIVE_INFINITY,
  seconds: Number.POSITIVE_INFINITY,
  jobs: 1,
  worker: null,
  shrink: true,
  checkpoint: null,
  resume: null,
  signal: null,
  onProgress: null,
  progressEvery_ms: 500,
};

/** A request that makes no sense. */
export class ExploreOptionError extends Error {
  override readonly name = 'ExploreOptionError';
}

/** Fills in the defaults. @throws {ExploreOptionError} where options contradict each other */
export function completeOptions(asked: Partial<ExploreOptions>): ExploreOptions {
  const bounded = (asked.preemptions ?? EXPLORE_DEFAULTS.preemptions) < Number.POSITIVE_INFINITY;
  const options = { ...EXPLORE_DEFAULTS, ...(bounded ? { reduction: 'none' as const } : {}), ...asked };
  const reject = (message: string): never => {
    throw new ExploreOptionError(message);
  };
  if (!POLICIES.includes(options.policy)) reject(`there is no policy "${options.policy}": take one of ${POLICIES.join(', ')}`);
  const whole = (name: string, value: number, min: number): void => {
    if (value !== Number.POSITIVE_INFINITY && (!Number.isInteger(value) || value < min)) {
      reject(`${name} is a whole number from ${min} on, not ${value}`);
    }
  };
  whole('preemptions', options.preemptions, 0);
  whole('depth', options.depth, 1);
  whole('executions', options.executions, 1);
  whole('jobs', options.jobs, 1);
  whole('findings', options.findings, 1);
  whole('pctDepth', options.pctDepth, 1);
  if (!(options.seconds > 0)) reject(`seconds is a positive number, not ${options.seconds}`);
  const endless = options.policy !== 'exhaustive' && options.policy !== 'round-robin';
  if (endless && options.executions === Number.POSITIVE_INFINITY && options.seconds === Number.POSITIVE_INFINITY) {
    if (options.signal === null) reject(`policy ${options.policy} has no end: bound it by executions or seconds`);
  }
  if (options.policy !== 'exhaustive' && options.preemptions !== Number.POSITIVE_INFINITY) {
    reject(`preemptions bound the exhaustive search only, not policy ${options.policy}`);
  }
  return options;
}
