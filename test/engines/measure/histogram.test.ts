/** The histograms: their buckets, their precision, and what is read from them. */
import { describe, expect, it } from 'vitest';
import { bucketOf, HISTOGRAM_BUCKETS, lowerBound, middleOf, octaves, quantile } from '../../../src/engines/measure/histogram.ts';

describe('the buckets', () => {
  it('meet without gaps, each beginning where it says', () => {
    for (let bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
      const low = lowerBound(bucket);
      expect(bucketOf(low)).toBe(bucket);
      if (bucket > 0) expect(bucketOf(low - 1)).toBe(bucket - 1);
    }
  });

  it('tell two significant digits', () => {
    for (let value = 1; value < 2 ** 36; value = Math.ceil(value * 1.0371)) {
      expect(Math.abs(middleOf(bucketOf(value)) - value) / value).toBeLessThan(0.01);
    }
  });

  it('take anything', () => {
    expect(bucketOf(-5)).toBe(0);
    expect(bucketOf(0.7)).toBe(0);
    expect(bucketOf(2 ** 31 - 1)).toBe(bucketOf(2 ** 31) - 1);
    expect(bucketOf(2 ** 50)).toBe(HISTOGRAM_BUCKETS - 1);
  });
});

describe('quantiles', () => {
  it('are those of the sorted values', () => {
    const counts = new Uint32Array(HISTOGRAM_BUCKETS);
    const values = Array.from({ length: 5000 }, (_, i) => Math.floor(((i * 7919) % 5000) ** 2.1));
    for (const value of values) counts[bucketOf(value)]++;
    values.sort((a, b) => a - b);
    for (const q of [0.01, 0.5, 0.9, 0.99, 0.999, 1]) {
      const exact = values[Math.max(0, Math.ceil(q * values.length) - 1)];
      expect(Math.abs(quantile(counts, q) - exact)).toBeLessThanOrEqual(exact * 0.01);
    }
  });

  it('are 0 without values', () => {
    expect(quantile(new Uint32Array(HISTOGRAM_BUCKETS), 0.99)).toBe(0);
  });
});

describe('octaves', () => {
  it('count by powers of two', () => {
    const counts = new Uint32Array(HISTOGRAM_BUCKETS);
    for (const value of [3, 100, 127, 128, 1000]) counts[bucketOf(value)]++;
    expect(octaves(counts).filter(({ count }) => count > 0)).toEqual([
      { belowNs: 4, count: 1 },
      { belowNs: 128, count: 2 },
      { belowNs: 256, count: 1 },
      { belowNs: 1024, count: 1 },
    ]);
    expect(octaves(counts)[0].belowNs).toBe(4);
    expect(octaves(new Uint32Array(HISTOGRAM_BUCKETS))).toEqual([]);
  });
});
