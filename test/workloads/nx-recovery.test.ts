import { describe, expect, it } from 'vitest';
import { MmuCounter } from '../../src/mmu/counters.ts';
import { VmStat, vmStat } from '../../src/mmu/vm-stat.ts';
import { nxRecovery } from '../../src/workloads/nx-recovery.ts';
import { run } from './coroutine-run.ts';

describe('nx-recovery', () => {
  it('splits what is executed, recovers it period by period, and leaves a sound VM', async () => {
    const given = { vcpus: '2', bytesPerVcpu: '4M', iterations: '12', delay: '200' };
    const { counter, phases, violations } = await run(nxRecovery, given);
    expect(phases.recover).toHaveLength(12);
    expect(counter(MmuCounter.nx_recovered)).toBeGreaterThan(4);
    expect(counter(MmuCounter.splits_fault)).toBeGreaterThan(0);
    expect(violations()).toEqual([]);
  });

  it('has nothing to do where nothing is executed', async () => {
    const given = { vcpus: '1', bytesPerVcpu: '4M', iterations: '3', executePercent: '0' };
    const { counter, vm } = await run(nxRecovery, given);
    expect(counter(MmuCounter.nx_recovered)).toBe(0);
    expect(vmStat(vm.kvm, VmStat.pages4k)).toBeLessThan(512);
  });
});
