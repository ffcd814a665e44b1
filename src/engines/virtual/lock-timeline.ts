/**
 * How much each lock was held and waited for over the time of a run.
 *
 * Time is cut into equal buckets; a run that outlives them doubles their width, so the memory is fixed and the picture has
 * between half and all of the buckets.
 */
import { LOCK_NUMBERS, lockName } from '../../machine/lock-number.ts';

const BUCKETS = 128;
const FIRST_WIDTH_NS = 1000;

/** What is summed up in a bucket, in nanoseconds of all tasks together. */
export const LockUse = { heldRead: 0, heldWrite: 1, waiting: 2 } as const;
export type LockUse = (typeof LockUse)[keyof typeof LockUse];
const USES = 3;

/** Use of one lock, a number each stretch of {@link LockTimeline.bucketNs} nanoseconds. */
export interface LockUtilisation {
  readonly lock: string;
  /** Mean number of readers inside. */
  readonly readers: readonly number[];
  /** Share of the time that a writer was inside, 0 to 1. */
  readonly writer: readonly number[];
  /** Mean number of tasks that wait. */
  readonly waiters: readonly number[];
}

export class LockTimeline {
  #widthNs = FIRST_WIDTH_NS;
  /** By lock: sums by use and bucket; made when the lock is first used. */
  readonly #sums: (Float64Array | null)[] = new Array(LOCK_NUMBERS).fill(null);

  get bucketNs(): number {
    return this.#widthNs;
  }

  /** A task held `lock`, or waited for it, from `from` to `to`. */
  add(lock: number, use: LockUse, from: number, to: number): void {
    while (to >= BUCKETS * this.#widthNs) this.#widen();
    const sums = (this.#sums[lock] ??= new Float64Array(USES * BUCKETS));
    const width = this.#widthNs;
    let at = from;
    for (let bucket = Math.floor(from / width); at < to; bucket++) {
      const end = Math.min(to, (bucket + 1) * width);
      sums[use * BUCKETS + bucket] += end - at;
      at = end;
    }
  }

  /** Locks that were used, up to time `endNs`. */
  read(endNs: number): LockUtilisation[] {
    const count = Math.min(BUCKETS, Math.ceil(endNs / this.#widthNs));
    return this.#sums.flatMap((sums, lock): LockUtilisation[] => {
      if (sums === null) return [];
      const row = (use: LockUse): number[] =>
        Array.from(sums.subarray(use * BUCKETS, use * BUCKETS + count), (ns) => ns / this.#widthNs);
      const readers = row(LockUse.heldRead);
      return [{ lock: lockName(lock), readers, writer: row(LockUse.heldWrite), waiters: row(LockUse.waiting) }];
    });
  }

  #widen(): void {
    this.#widthNs *= 2;
    for (const sums of this.#sums) {
      if (sums === null) continue;
      for (let use = 0; use < USES; use++) {
        const row = sums.subarray(use * BUCKETS, (use + 1) * BUCKETS);
        for (let i = 0; i < BUCKETS / 2; i++) row[i] = row[2 * i] + row[2 * i + 1];
        row.fill(0, BUCKETS / 2);
      }
    }
  }
}
