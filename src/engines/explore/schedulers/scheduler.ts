/**
 * Who decides what happens next: three methods, one file a policy. Measuring, coverage and the determinism check wrap a
 * scheduler; they are not flags inside one.
 */
import type { Execution } from '../execution.ts';
import type { Finding } from '../program.ts';

/** How an execution ended. */
export type Outcome =
  /** All threads ended and the check held. */
  | 'passed'
  /** A rule was broken (deadlock included, unless the program allows it). */
  | 'failed'
  /** The scheduler or a bound gave it up before its end. */
  | 'cut';

export interface Scheduler {
  /** Prepares the next execution; false where there is none left. */
  newExecution(): boolean;
  /**
   * The task that goes next: one of the first `count` of `enabled` (ascending), or -1 to give the execution up.
   * @param last the task of the step before, or -1
   */
  nextTask(enabled: Int32Array, count: number, last: number, execution: Execution): number;
  /** A 32-bit unsigned random number: seeds what the program itself draws. */
  random(): number;
  /** Tells how the execution ended. For wrappers. */
  finished?(outcome: Outcome, finding: Finding | null, execution: Execution): void;
}

/** A small fast generator (xorshift32 over a mixed seed): one per execution, so that executions can be dealt out. */
export class Xorshift {
  #state = 1;

  constructor(seed = 1, stream = 0) {
    this.seed(seed, stream);
  }

  seed(seed: number, stream: number): void {
    let x = (Math.imul(seed | 0, 0x9e3779b1) ^ Math.imul(stream | 0, 0x85ebca6b)) | 0;
    x = Math.imul(x ^ (x >>> 16), 0x7feb352d);
    x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
    this.#state = x ^ (x >>> 16) || 0x6d2b79f5;
  }

  next(): number {
    let s = this.#state;
    s ^= s << 13;
    s ^= s >>> 17;
    s ^= s << 5;
    this.#state = s;
    return s >>> 0;
  }

  /** A number from 0 to `n - 1`. */
  below(n: number): number {
    return Math.floor((this.next() / 4294967296) * n);
  }
}
