/** Laws of queueing that hold whatever is measured: the real MMU on the virtual clock must obey them. */
import { beforeAll, describe, expect, it } from 'vitest';
import { skylake2s96 } from '../../src/engines/virtual/profiles/index.ts';
import { type SimulationOutcome, simulate } from '../../src/simulate/simulation.ts';
import { demandPaging } from '../../src/workloads/demand-paging.ts';
import { parseOptions } from '../../src/workloads/option.ts';
import { runSettings } from '../../src/workloads/run-settings.ts';

const run = (vcpus: number, bytesPerVcpu: string, lock: string): Promise<SimulationOutcome> =>
  simulate({
    workload: 'demand-paging',
    options: parseOptions(demandPaging.options, { vcpus: String(vcpus), bytesPerVcpu }),
    settings: runSettings({ lock }, []),
    profile: skylake2s96,
  });

const execution = ({ measurement }: SimulationOutcome): number =>
  measurement.phases.find(({ name }) => name === 'execution')?.totalNs ?? Number.NaN;

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);

describe('a queue for mmu_lock', () => {
  const vcpus = 48;
  let outcome: SimulationOutcome;
  beforeAll(async () => {
    outcome = await run(vcpus, '128K', 'spinlock');
  });
  const rows = () => outcome.measurement.locks.filter(({ lock }) => lock === 'mmu_lock');
  const timeline = () => outcome.virtual.locks.find(({ lock }) => lock === 'mmu_lock')!;

  it("obeys Little's law: waiters over time are waits in sum", () => {
    const waited = sum(rows().map(({ wait }) => wait.totalNs));
    expect(waited).toBeGreaterThan(0);
    expect(sum(timeline().waiters) * outcome.virtual.bucketNs).toBeCloseTo(waited, -1);
    // What the vCPUs' clocks say they waited for is the same.
    expect(outcome.virtual.vcpus.groups.mmuLock / waited).toBeGreaterThan(0.9);
    expect(outcome.virtual.vcpus.groups.mmuLock / waited).toBeLessThan(1.01);
  });

  it('obeys the utilisation law: the lock is held as long as its holders hold it, by one at a time', () => {
    const held = sum(rows().map(({ hold }) => hold.totalNs));
    expect(sum(timeline().writer) * outcome.virtual.bucketNs).toBeCloseTo(held, -1);
    expect(Math.max(...timeline().writer)).toBeLessThanOrEqual(1 + 1e-9);
    expect(timeline().waiters.every((n) => n < vcpus)).toBe(true);
  });

  it('gives no more than one fault for each hold of the lock', async () => {
    const alone = await run(1, '1M', 'spinlock');
    const [hold] = alone.measurement.locks.filter(({ lock, site }) => lock === 'mmu_lock' && site === 'kvm_tdp_page_fault');
    const rate = outcome.measurement.faults.taken / execution(outcome);
    expect(rate).toBeLessThan(1 / hold.hold.meanNs);
    // And no more than the vCPUs together would make without each other.
    expect(rate).toBeLessThan((vcpus * alone.measurement.faults.taken) / execution(alone));
  });
});

describe("Amdahl's law", () => {
  it('limits what more vCPUs bring: a rwlock gains less and less, and never more than their number', async () => {
    const times = await Promise.all([1, 2, 4, 8].map((n) => run(n, '512K', 'rwlock')));
    const rates = times.map((outcome) => outcome.measurement.faults.taken / execution(outcome));
    const gains = rates.slice(1).map((rate, i) => rate / rates[i]);
    for (const gain of gains) {
      expect(gain).toBeGreaterThan(1);
      // Tables at the top of the tree are made once, which many share: a little more than twice is no mistake.
      expect(gain).toBeLessThan(2.02);
    }
  });
});
