import { describe, expect, it } from 'vitest';
import { MmuCounter } from '../../src/mmu/counters.ts';
import { parseOptions } from '../../src/workloads/option.ts';
import { runSettings } from '../../src/workloads/run-settings.ts';
import { zapRoots } from '../../src/workloads/zap-roots.ts';
import { runPrepared } from './coroutine-run.ts';

const prepared = (kernel: string) =>
  zapRoots.plan(
    parseOptions(zapRoots.options, { vcpus: '2', bytesPerVcpu: '256K', iterations: '6' }),
    runSettings({ kernel }, []),
  );

describe('the thread of the zap worker', () => {
  it('is there in the kernel that has one, and does the work', async () => {
    const plan = await prepared('5.18');
    expect(plan.plan.threads.map(({ name }) => name)).toEqual(['vcpu 0', 'vcpu 1', 'ioctl', 'zap worker']);
    const { counter, phases, violations } = runPrepared(plan);
    expect(phases.zap).toHaveLength(6);
    expect(counter(MmuCounter.roots_invalidated)).toBeGreaterThan(0);
    expect(violations()).toEqual([]);
  });

  it.each(['5.15', '6.1', '6.12'])('is not there in %s, whose callers zap', async (kernel) => {
    const plan = await prepared(kernel);
    expect(plan.plan.threads.map(({ name }) => name)).toEqual(['vcpu 0', 'vcpu 1', 'ioctl']);
    expect(runPrepared(plan).violations()).toEqual([]);
  });
});
