import { describe, expect, it } from 'vitest';
import { combinations, nameOf, sample, verdictFor } from '../../bench/programs/stress-matrix.ts';
import { KERNELS } from '../../src/mmu/generation.ts';
import { WORKLOADS } from '../../src/workloads/index.ts';

describe('the matrix of workloads and kernels', () => {
  it('has every workload but live-migration, which has no threads to stress, on every kernel', () => {
    const names = new Set(combinations().map(({ workload }) => workload));
    expect([...names].sort()).toEqual(
      WORKLOADS.map(({ name }) => name)
        .filter((name) => name !== 'live-migration')
        .sort(),
    );
    expect(new Set(combinations().map(nameOf)).size).toBe(names.size * Object.keys(KERNELS).length * 12);
  });

  it('is sampled with each lock, processor and perturbation', () => {
    const values = new Set(sample().flatMap(({ settings }) => Object.entries(settings).map(([key, value]) => `${key} ${value}`)));
    expect([...values].sort()).toEqual(
      [...new Set(combinations().flatMap(({ settings }) => Object.entries(settings).map((pair) => pair.join(' '))))].sort(),
    );
  });

  it.each(sample().filter(({ workload }, i) => ['collapse', 'aging', 'max-guest-memory'].includes(workload) && i % 5 === 4))(
    'passes: $workload $settings',
    async (combination) => {
      expect(await verdictFor(combination)).toMatchObject({ kind: 'PASS' });
    },
    60_000,
  );
});
