import { describe, expect, it } from 'vitest';
import { MmuCounter } from '../../src/mmu/counters.ts';
import { VcpuCounter } from '../../src/vm/vcpu-counters.ts';
import { maxGuestMemory } from '../../src/workloads/max-guest-memory.ts';
import { parseOptions } from '../../src/workloads/option.ts';
import { checkPlanSize } from '../../src/workloads/plan-size.ts';
import { maxMemoryLayout, vcpuTouches } from '../../src/workloads/programs/max-guest-memory-layout.ts';
import { runSettings } from '../../src/workloads/run-settings.ts';
import { run, runPrepared } from './coroutine-run.ts';

const SMALL = { vcpus: '2', size: '32M', slots: '4' };

const plan = (given: Record<string, string>, settings: Record<string, string> = {}) =>
  maxGuestMemory.plan(parseOptions(maxGuestMemory.options, given), runSettings(settings, []));

describe('max-guest-memory', () => {
  it('touches all memory twice, loses write access to all of it and gets it back, and loses slots under load', async () => {
    const { phases, tallies, counter, violations } = await run(maxGuestMemory, SMALL);
    expect(Object.fromEntries(Object.entries(phases).map(([name, ns]) => [name, ns.length]))).toEqual({
      'create slots': 1,
      run1: 1,
      run2: 1,
      ro: 1,
      rw: 1,
      'delete slot': 2,
      'unmap half': 1,
    });
    // Each vCPU once while memory is read-only; more when half of it is unmapped.
    expect(tallies['accesses refused'].slice(0, 2)).toEqual([1, 1]);
    expect(counter(VcpuCounter.mmio_exits)).toBeGreaterThan(0);
    expect(counter(MmuCounter.roots_invalidated)).toBeGreaterThanOrEqual(2);
    expect(violations()).toEqual([]);
  });

  it.each([
    ['anonymous', '1M', 256],
    ['anonymous_thp', '8M', 4],
    ['anonymous_hugetlb_2mb', '8M', 4],
  ])('maps what all slots share by the pages that the host has: %s', async (backing, size, pages) => {
    const { counter, violations } = await run(maxGuestMemory, { ...SMALL, size, slots: '2', backing });
    // Once in the first run, and again when memory is writable again: the program compares the leaves after each.
    expect(counter(MmuCounter.leaves_installed)).toBeGreaterThanOrEqual(2 * pages);
    expect(violations()).toEqual([]);
  });

  it.each<Record<string, string>>([{ kernel: '5.15' }, { kernel: '5.18' }, { kernel: '6.13', cpu: 'ept' }, { mmu: 'shadow' }])(
    'runs on %j',
    async (settings) => {
      expect(runPrepared(await plan({ ...SMALL, size: '16M', slots: '2' }, settings)).violations()).toEqual([]);
    },
  );

  it('plans 64T of 2M and of 1G pages in 4G of page tables, and 4K pages as far as those reach', async () => {
    for (const [size, backing] of [
      ['64T', 'anonymous_hugetlb_2mb'],
      ['64T', 'anonymous_hugetlb_1gb'],
      ['2042G', 'anonymous'],
    ]) {
      const { plan: big } = await plan({ size, backing, slots: size === '2042G' ? '2' : '128' });
      expect(big.vm.tablePages).toBeLessThanOrEqual(2 ** 20);
      checkPlanSize(big);
    }
  });

  it('says what would fit, and what cannot be', async () => {
    await expect(plan({ size: '4T', backing: 'anonymous' })).rejects.toThrow(
      '-m 4T -s anonymous: needs 9G of page tables, and 4G can be had: up to 2042G fits, or more on larger pages',
    );
    await expect(plan({ size: '128T' })).rejects.toThrow('-m 128T: a guest has at most 64T');
    await expect(plan({ size: '64T', slots: '4' })).rejects.toThrow('at least 9 slots are needed');
    await expect(plan({ size: '10G', slots: '7' })).rejects.toThrow('multiples of 2M, a page of anonymous_hugetlb_2mb');
    await expect(plan({ size: '4M', slots: '2', stride: '8M' })).rejects.toThrow('-t 8M: is more than the guest has');
    const { plan: shadow } = await plan({ size: '64T', slots: '128' }, { mmu: 'shadow' });
    expect(() => checkPlanSize(shadow)).toThrow(/needs \d+G for page tables, .* less than 8G can be had/);
  });

  it('gives every access of a pass to one vCPU', () => {
    const layout = maxMemoryLayout({ size: 100 * 2 ** 21, slots: 1, backing: 'anonymous_thp', strideBytes: 0 });
    const shares = [0, 1, 2].map((index) => vcpuTouches(layout, 3, index));
    expect(shares).toEqual([
      { first: 0, end: 33 },
      { first: 33, end: 66 },
      { first: 66, end: 100 },
    ]);
  });
});
