/**
 * Log-linear histograms of durations, as one stretch of 32-bit counts that anybody may read while its owner writes.
 *
 * Values below {@link LINEAR} have a bucket each; above, every power of two is cut into as many buckets, so a bucket is at
 * most 1/64 of its value wide, and its middle is off by less than 1 %: two significant digits, as hdr histograms give.
 */

/** Buckets of a power of two; values below it are exact. A power of two itself. */
const LINEAR = 64;
const LINEAR_BITS = 6;
/** Values from 2 ** this on (about 69 s in ns) share the last bucket. */
const RANGE_BITS = 36;

export const HISTOGRAM_BUCKETS = LINEAR * (RANGE_BITS - LINEAR_BITS + 1);

/** The bucket of `value`, a number from 0 on; fractions are cut off. */
export function bucketOf(value: number): number {
  if (value < 0x8000_0000) {
    const whole = value | 0;
    if (whole < LINEAR) return whole < 0 ? 0 : whole;
    const shift = 25 - Math.clz32(whole);
    // The leading bit of `whole >>> shift` adds one octave, so octaves count from 1.
    return (shift << LINEAR_BITS) + (whole >>> shift);
  }
  const high = Math.floor(value / 2 ** 16);
  return high < 2 ** (RANGE_BITS - 16) ? bucketOf(high) + 16 * LINEAR : HISTOGRAM_BUCKETS - 1;
}

/** The least value of a bucket. */
export function lowerBound(bucket: number): number {
  if (bucket < LINEAR) return bucket;
  const octave = Math.floor(bucket / LINEAR);
  return (LINEAR + (bucket % LINEAR)) * 2 ** (octave - 1);
}

/** What stands for the values of a bucket: its middle. */
export function middleOf(bucket: number): number {
  return bucket < LINEAR ? bucket : (lowerBound(bucket) + lowerBound(bucket + 1)) / 2;
}

/**
 * The value below which the share `q` (0 to 1) of all counts lies; 0 without counts.
 *
 * @param counts {@link HISTOGRAM_BUCKETS} counts
 */
export function quantile(counts: ArrayLike<number>, q: number): number {
  let total = 0;
  for (let bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) total += counts[bucket];
  if (total === 0) return 0;
  let left = Math.max(1, Math.ceil(q * total));
  for (let bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
    left -= counts[bucket];
    if (left <= 0) return middleOf(bucket);
  }
  return middleOf(HISTOGRAM_BUCKETS - 1);
}

/** A row of a coarse histogram: how many values lie below `belowNs` and not below the row before. */
export interface OctaveCount {
  readonly belowNs: number;
  readonly count: number;
}

/** The counts by powers of two, without empty rows at either end: for printing. */
export function octaves(counts: ArrayLike<number>): OctaveCount[] {
  const sums: number[] = [];
  for (let bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
    const low = lowerBound(bucket);
    const row = low < 1 ? 0 : Math.floor(Math.log2(low)) + 1;
    sums[row] = (sums[row] ?? 0) + counts[bucket];
  }
  const rows = sums.map((count, row) => ({ belowNs: 2 ** row, count }));
  const first = rows.findIndex(({ count }) => count > 0);
  const last = rows.findLastIndex(({ count }) => count > 0);
  return first < 0 ? [] : rows.slice(first, last + 1);
}
