/**
 * Distributions of many threads, read and added up.
 */
import { HISTOGRAM_BUCKETS, octaves, quantile } from './histogram.ts';
import type { Durations } from './measurement.ts';
import { DistributionField, type StatRegion } from './stat-region.ts';

export class DurationSum {
  #timed = 0;
  #count = 0;
  #totalNs = 0;
  #minNs = Number.POSITIVE_INFINITY;
  #maxNs = 0;
  readonly #counts = new Float64Array(HISTOGRAM_BUCKETS);

  /** Adds the distribution that begins at double `base`. */
  add(region: StatRegion, base: number): this {
    const { doubles, words } = region;
    this.#timed += doubles[base + DistributionField.records];
    this.#count += doubles[base + DistributionField.count];
    this.#totalNs += doubles[base + DistributionField.total];
    if (doubles[base + DistributionField.records] > 0) {
      this.#minNs = Math.min(this.#minNs, doubles[base + DistributionField.min]);
    }
    this.#maxNs = Math.max(this.#maxNs, doubles[base + DistributionField.max]);
    if (doubles[base + DistributionField.records] === 0) return this;
    const histogram = 2 * (base + DistributionField.histogram);
    for (let bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) this.#counts[bucket] += words[histogram + bucket];
    return this;
  }

  /** A bucket's middle may lie beyond the longest value: that one is known exactly. */
  #quantile(q: number): number {
    return Math.min(quantile(this.#counts, q), this.#maxNs);
  }

  get durations(): Durations {
    return {
      count: this.#count,
      timed: this.#timed,
      totalNs: this.#totalNs,
      meanNs: this.#count > 0 ? this.#totalNs / this.#count : 0,
      p50Ns: this.#quantile(0.5),
      p90Ns: this.#quantile(0.9),
      p99Ns: this.#quantile(0.99),
      p999Ns: this.#quantile(0.999),
      minNs: this.#timed > 0 ? this.#minNs : 0,
      maxNs: this.#maxNs,
      histogram: octaves(this.#counts),
    };
  }
}
