import { describe, expect, it } from 'vitest';
import { chart, sparkline } from '../../src/report/chart.ts';
import { asCsv } from '../../src/report/csv.ts';
import { kneeOf, type SweepPoint, sweepReport } from '../../src/simulate/sweep.ts';

const point = (variant: string, vcpus: number, accessesPerSecond: number): SweepPoint => ({
  variant,
  vcpus,
  profile: 'p',
  complete: true,
  elapsedNs: 1e6,
  faults: 10,
  faultsPerSecond: accessesPerSecond,
  accessesPerSecond,
  mmuLock: 0,
  cacheLine: 0,
  flushes: 0,
  faultP99Ns: 0,
  stallNs: 0,
  realSeconds: 1,
});

describe('kneeOf', () => {
  it('is where more vCPUs bring nothing more', () => {
    expect(kneeOf([1, 2, 4, 8, 16].map((n) => point('', n, 1000 * Math.min(n, 4))))).toBe(4);
  });

  it('is nothing where throughput grows to the end', () => {
    expect(kneeOf([1, 2, 4, 8].map((n) => point('', n, 1000 * n ** 0.8)))).toBeNull();
  });

  it('passes a dip that is followed by growth', () => {
    expect(kneeOf([point('', 1, 100), point('', 2, 100), point('', 4, 400), point('', 8, 800)])).toBeNull();
  });

  it('measures growth by doublings', () => {
    expect(kneeOf([point('', 64, 1000), point('', 96, 1180)])).toBeNull();
    expect(kneeOf([point('', 64, 1000), point('', 96, 1050)])).toBe(64);
  });
});

describe('the report of a sweep', () => {
  it('has a curve and a sentence for each variant', () => {
    const points = [1, 2, 4].flatMap((n) => [point('lock=a', n, 1000 * n), point('lock=b', n, 1000)]);
    const lines = sweepReport(points);
    expect(lines).toContain('lock=a scales to the end');
    expect(lines).toContain('lock=b stops scaling at 1 vCPU');
    expect(lines.some((line) => line.includes('* lock=a'))).toBe(true);
  });
});

describe('charts', () => {
  it('put larger values higher', () => {
    const rows = chart([1, 2], [{ name: 'c', values: [10, 1000] }], 5);
    const rowOf = (column: number): number => rows.findIndex((row) => row[11 + column] === '*');
    expect(rowOf(10)).toBe(0);
    expect(rowOf(4)).toBe(4);
  });

  it('draw lines over time', () => {
    expect(sparkline([0, 1, 2, 4], 4)).toBe(' ▂▄█');
    expect(sparkline([1, 1, 0, 0], 2)).toBe('█ ');
    expect(chart([1], [{ name: 'c', values: [Number.NaN] }])).toEqual([]);
  });
});

describe('asCsv', () => {
  it('quotes what needs it', () => {
    expect(
      asCsv([
        { a: 'x,y', b: 1 },
        { a: 'say "z"', b: 2 },
      ]),
    ).toBe('a,b\n"x,y",1\n"say ""z""",2\n');
  });
});
