import { describe, expect, it } from 'vitest';
import { own } from '../../src/machine/point.ts';
import { runToEnd } from '../../src/machine/run.ts';
import { VcpuMode } from '../../src/machine/tlb-shootdown.ts';
import { MmuCounter } from '../../src/mmu/counters.ts';
import { kvmFlushRemoteTlbs } from '../../src/mmu/flush.ts';
import { VmStat, vmStat } from '../../src/mmu/vm-stat.ts';
import { VmCounter } from '../../src/vm/vm-counters.ts';
import { demandPaging } from '../../src/workloads/demand-paging.ts';
import { dirtyLog, dirtyLogLines } from '../../src/workloads/dirty-log.ts';
import { memslotModification } from '../../src/workloads/memslot-modification.ts';
import { notifierStorm } from '../../src/workloads/notifier-storm.ts';
import { zapRoots } from '../../src/workloads/zap-roots.ts';
import { prepare, run, runPrepared } from './coroutine-run.ts';

const SMALL = { vcpus: '2', bytesPerVcpu: '64K' };
const SMALL_PAGES = 32;

describe('demand-paging', () => {
  it('takes one fault a page, and leaves every page mapped', async () => {
    const { vm, counter, phases, violations } = await run(demandPaging, SMALL);
    expect(counter(MmuCounter.pf_fixed)).toBe(SMALL_PAGES);
    expect(vmStat(vm.kvm, VmStat.pages4k)).toBe(SMALL_PAGES);
    expect(phases.execution).toHaveLength(1);
    expect(phases.vcpu).toHaveLength(2);
    expect(violations()).toEqual([]);
  });

  it('maps each page once where vCPUs overlap', async () => {
    const { vm, counter } = await run(demandPaging, { ...SMALL, overlap: true });
    expect(vmStat(vm.kvm, VmStat.pages4k)).toBe(SMALL_PAGES);
    expect(counter(MmuCounter.pf_taken)).toBeGreaterThanOrEqual(SMALL_PAGES);
  });

  it('maps 2M pages where the host has them', async () => {
    const { vm } = await run(demandPaging, { vcpus: '2', bytesPerVcpu: '2M', backing: 'anonymous_hugetlb_2mb' });
    expect(vmStat(vm.kvm, VmStat.pages2m)).toBe(2);
    expect(vmStat(vm.kvm, VmStat.pages4k)).toBe(0);
  });
});

describe('dirty-log', () => {
  it('goes through the phases of the selftest', async () => {
    const { phases, violations, counter } = await run(dirtyLog, { ...SMALL, iterations: '3' });
    expect(Object.fromEntries(Object.entries(phases).map(([name, ns]) => [name, ns.length]))).toEqual({
      populate: 1,
      enable: 1,
      dirty: 3,
      get: 3,
      clear: 3,
      disable: 1,
    });
    // Each iteration after the first writes pages that were protected.
    expect(counter(MmuCounter.pf_fast)).toBe(2 * SMALL_PAGES);
    expect(violations()).toEqual([]);
  });

  it('harvests under running vCPUs, and loses nothing', async () => {
    const { phases, violations, counter } = await run(dirtyLog, { ...SMALL, iterations: '3', live: true });
    expect([phases.get, phases.clear, phases.settle, phases['clear at rest']].map((times) => times.length)).toEqual([3, 3, 3, 3]);
    expect(phases.dirty).toBeUndefined();
    expect(counter(VmCounter.dirty_log_clears)).toBe(6);
    expect(violations()).toEqual([]);
  });

  it('does without CLEAR where manual protection is off', async () => {
    const { phases, counter } = await run(dirtyLog, { ...SMALL, iterations: '2', noManualProtect: true });
    expect(phases.clear).toBeUndefined();
    expect(counter(VmCounter.dirty_log_clears)).toBe(0);
  });

  it.each([['ept'], ['npt']])('logs by what the processor has: %s', async (cpu) => {
    const sets = cpu === 'npt' ? [] : ['pml=0'];
    const { violations } = await run(dirtyLog, { ...SMALL, writePercent: '50', randomAccess: true, slots: '2' }, { sets });
    expect(violations()).toEqual([]);
  });

  it('runs vCPUs while logging is disabled', async () => {
    const { phases, counter } = await run(dirtyLog, { ...SMALL, iterations: '1', runWhileDisabling: true });
    expect(phases.disable).toHaveLength(1);
    expect(counter(VmCounter.dirty_log_gets)).toBe(1);
  });

  it('notices a page that no log reported', async () => {
    // The flush that is left out leaves translations that write without a fault.
    const bugs = { 'harvest-without-flush-before-return': true };
    await expect(run(dirtyLog, { ...SMALL, iterations: '3' }, { bugs })).rejects.toThrow(/written after it was sent/);
  });

  it('prints what the selftest prints', () => {
    const phases = {
      populate: [233440549],
      enable: [1024033],
      dirty: [47902153],
      get: [580142],
      clear: [74183728],
      disable: [52843642],
    };
    expect(dirtyLogLines(phases)).toEqual([
      'Populate memory time: 0.233440549s',
      'Enabling dirty logging time: 0.001024033s',
      '',
      'Iteration 1 dirty memory time: 0.047902153s',
      'Iteration 1 get dirty log time: 0.000580142s',
      'Iteration 1 clear dirty log time: 0.074183728s',
      '',
      'Disabling dirty logging time: 0.052843642s',
      'Get dirty log over 1 iterations took 0.000580142s. (Avg 0.000580142s/iteration)',
      'Clear dirty log over 1 iterations took 0.074183728s. (Avg 0.074183728s/iteration)',
    ]);
  });
});

describe('disturbances', () => {
  it('memslot-modification adds and deletes a slot while vCPUs go on', async () => {
    const { phases, counter, violations } = await run(memslotModification, { ...SMALL, iterations: '4' });
    expect(phases.add).toHaveLength(4);
    expect(phases.delete).toHaveLength(4);
    expect(counter(MmuCounter.roots_invalidated)).toBeGreaterThanOrEqual(4);
    expect(violations()).toEqual([]);
  });

  it('memslot-modification without the quirk leaves roots alone', async () => {
    const { counter } = await run(memslotModification, { ...SMALL, iterations: '4', quirkOff: true });
    expect(counter(MmuCounter.roots_invalidated)).toBe(0);
  });

  it('zap-roots makes vCPUs fault everything in again', async () => {
    const { counter, phases, violations } = await run(zapRoots, { ...SMALL, iterations: '5', delay: '100' });
    expect(phases.zap).toHaveLength(5);
    expect(counter(MmuCounter.pf_taken)).toBeGreaterThan(SMALL_PAGES);
    expect(violations()).toEqual([]);
  });

  it('notifier-storm drops, protects and ages under vCPUs', async () => {
    const given = { ...SMALL, iterations: '30', range: '16K', hosts: '2' };
    const { phases, counter, violations } = await run(notifierStorm, given);
    expect(phases.unmap.length + phases.protect.length + phases.age.length).toBe(60);
    expect(counter(VmCounter.host_pages_dropped)).toBeGreaterThan(0);
    expect(violations()).toEqual([]);
  });
});

describe('the end of a vCPU thread', () => {
  it('takes the vCPU out of the guest, where a flush would wait for it for ever', async () => {
    const prepared = await prepare(zapRoots, { vcpus: '2', bytesPerVcpu: '1M' });
    const { plan } = prepared;
    // In the middle of a pass: the programs are told to end as soon as the vCPUs have begun.
    const stopper = { ...plan.threads[2], program: 'demand-paging-ioctl' };
    const { vm } = runPrepared({ ...prepared, plan: { ...plan, threads: [...plan.threads.slice(0, 2), stopper] } });
    for (const vcpu of [0, 1]) {
      expect(vm.memory.load32(own(vm.kvm.requests.mode(vcpu)))).toBe(VcpuMode.outsideGuest);
    }
    runToEnd(vm.memory, kvmFlushRemoteTlbs(vm.kvm));
  });
});
