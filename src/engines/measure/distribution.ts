/**
 * A distribution of durations in the statistics region, as its only writer holds it.
 */
import { bucketOf } from './histogram.ts';
import { DistributionField, type StatRegion } from './stat-region.ts';

export class Distribution {
  readonly #doubles: Float64Array;
  readonly #words: Uint32Array;
  readonly #base: number;
  readonly #histogram: number;

  /** `base`: its first double in `region`. */
  constructor(region: StatRegion, base: number) {
    this.#doubles = region.doubles;
    this.#words = region.words;
    this.#base = base;
    this.#histogram = 2 * (base + DistributionField.histogram);
  }

  /** Records a duration that stands for `weight` of its kind: 1, or the mean distance of samples. */
  record(ns: number, weight: number): void {
    const doubles = this.#doubles;
    const base = this.#base;
    if (doubles[base + DistributionField.records]++ === 0 || ns < doubles[base + DistributionField.min]) {
      doubles[base + DistributionField.min] = ns;
    }
    doubles[base + DistributionField.count] += weight;
    doubles[base + DistributionField.total] += ns * weight;
    if (ns > doubles[base + DistributionField.max]) doubles[base + DistributionField.max] = ns;
    this.#words[this.#histogram + bucketOf(ns)] += weight;
  }
}
