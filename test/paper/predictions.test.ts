import { describe, expect, it } from 'vitest';
import { laptop8 } from '../../src/engines/virtual/profiles/index.ts';
import { PUBLISHED } from '../../src/paper/eager-split.ts';
import { initiallySetSeconds, plainSeconds } from '../../src/paper/eager-split-runs.ts';
import type { Laboratory } from '../../src/paper/figure.ts';
import { EAGER_SPLIT_FIT, fittedSkylake } from '../../src/paper/fitted-profiles.ts';
import { simulate } from '../../src/simulate/simulation.ts';

/** Runs the crew's simulations with fewer vCPUs, and leaves those of one vCPU with a huge page out: they take seconds. */
const small: Laboratory = {
  run: async (task) => {
    const { vcpus, bytesPerVcpu } = task.options;
    const bytes = Math.min(bytesPerVcpu as number, 4 * 2 ** 20);
    const backing = 'anonymous_hugetlb_2mb';
    return await simulate({
      ...task,
      options: { ...task.options, vcpus: Math.min(vcpus as number, 8), bytesPerVcpu: bytes, backing },
    });
  },
};
/** Pages of such a crew, as a share of 96 vCPUs'. */
const CREW = 8 / 96;

describe('eager page splitting on eight vCPUs', () => {
  it('costs CLEAR what the fit says, and moves the price from the guest to CLEAR', async () => {
    const { off, on } = await initiallySetSeconds(small, fittedSkylake(EAGER_SPLIT_FIT), 1);
    const published = PUBLISHED.initiallySet;
    // What 96 vCPUs fight over is free for eight.
    expect(on.dirty2 / published.on.dirty2).toBeGreaterThan(0.8);
    expect(on.dirty2 / published.on.dirty2).toBeLessThan(1.05);
    for (const [seconds, wanted] of [
      [off.clear3, published.off.clear3],
      [on.clear3, published.on.clear3],
    ]) {
      expect(seconds / (CREW * wanted)).toBeGreaterThan(0.85);
      expect(seconds / (CREW * wanted)).toBeLessThan(1.15);
    }
    expect(off.dirty2).toBeGreaterThan(3 * on.dirty2);
  });

  it('makes enabling dear and the first writes cheap, without INITIALLY_SET', async () => {
    const { off, on } = await plainSeconds(small, fittedSkylake(EAGER_SPLIT_FIT), 1);
    const { plain } = PUBLISHED;
    expect(on.enable / (CREW * plain.on.enable)).toBeGreaterThan(0.85);
    expect(on.enable / (CREW * plain.on.enable)).toBeLessThan(1.2);
    expect(on.dirty1 / plain.on.dirty1).toBeGreaterThan(0.7);
    expect(on.dirty1 / plain.on.dirty1).toBeLessThan(1);
    expect(off.dirty1).toBeGreaterThan(3 * on.dirty1);
    expect(on.enable).toBeGreaterThan(30 * off.enable);
  });

  it('would come out otherwise on another machine', async () => {
    const { on } = await initiallySetSeconds(small, laptop8, 1);
    expect(Math.abs(on.dirty2 / PUBLISHED.initiallySet.on.dirty2 - 1)).toBeGreaterThan(0.3);
  });
});
