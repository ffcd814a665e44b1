/** Guests that are larger than an arena: as much of their page tables as there is room for. */
import { describe, expect, it } from 'vitest';
import { layoutPlan } from '../../src/engines/plan.ts';
import { fitted } from '../../src/simulate/fitted-plan.ts';
import { demandPaging } from '../../src/workloads/demand-paging.ts';
import { parseOptions } from '../../src/workloads/option.ts';
import { memstressLayout } from '../../src/workloads/programs/memstress-layout.ts';
import { runSettings } from '../../src/workloads/run-settings.ts';
import type { WorkloadPlan } from '../../src/workloads/workload.ts';

async function planOf(options: Record<string, string>): Promise<WorkloadPlan> {
  return (await demandPaging.plan(parseOptions(demandPaging.options, options), runSettings({}, []))).plan;
}

describe('a guest of terabytes', () => {
  it('is left alone where it fits', async () => {
    const plan = await planOf({ vcpus: '4', bytesPerVcpu: '64G' });
    expect(fitted(plan)).toEqual({ plan, notes: [] });
  });

  it.each([
    { vcpus: '4', bytesPerVcpu: '3T', backing: 'anonymous_hugetlb_1gb' },
    { vcpus: '1024', bytesPerVcpu: '12G', backing: 'anonymous_hugetlb_1gb' },
    { vcpus: '4', bytesPerVcpu: '3T', stride: '1G' },
  ] as Record<string, string>[])('has room for the tables that it touches: %o', async (options) => {
    const plan = await planOf(options);
    expect(layoutPlan(plan, plan.controlWords).arenaWords).toBeGreaterThan(2 ** 31);
    const { plan: fits, notes } = fitted(plan);
    expect(layoutPlan(fits, fits.controlWords).arenaWords).toBeLessThan(2 ** 31);
    expect(fits.vm.tablePages).toBeGreaterThan(100_000);
    expect(notes).toEqual([expect.stringContaining('page tables')]);
    expect(memstressLayout(plan.options)).toMatchObject({ slots: 2, pages: 3 * 2 ** 30 });
  });

  it('is refused where it would touch more than fits, or is more than there can be', async () => {
    const plan = await planOf({ vcpus: '4', bytesPerVcpu: '3T' });
    expect(() => fitted(plan)).toThrow('needs at least 25G of page tables; less than 8G can be had');
    await expect(planOf({ vcpus: '4', bytesPerVcpu: '4T' })).rejects.toThrow('-v 4 -b 4T: a guest has less than 16T of memory');
  });
});
