import { describe, expect, it } from 'vitest';
import { laptop8 } from '../../src/engines/virtual/profiles/index.ts';
import { phaseTimes } from '../../src/report/outcome.ts';
import { type SimulationOutcome, simulate } from '../../src/simulate/simulation.ts';
import { liveMigration } from '../../src/workloads/live-migration.ts';
import { parseOptions } from '../../src/workloads/option.ts';
import { runSettings } from '../../src/workloads/run-settings.ts';

const MIB = 2 ** 20;

function migrate(
  options: Record<string, string>,
  settings: Record<string, string> = {},
  sets: string[] = [],
): Promise<SimulationOutcome> {
  const given = { vcpus: '2', bytesPerVcpu: '4M', settle: '3', ...options };
  return simulate({
    workload: 'live-migration',
    options: parseOptions(liveMigration.options, given),
    settings: runSettings(settings, sets),
    profile: laptop8,
  });
}

const phases = (outcome: SimulationOutcome) => phaseTimes({ ...outcome, workload: liveMigration });
const sum = (values: readonly number[] = []): number => values.reduce((a, b) => a + b, 0);

describe('live-migration', () => {
  it('sends everything once, then what was dirtied, and stops the guest no longer than it may', async () => {
    const outcome = await migrate({ bandwidth: '1G', dirtyRate: '32M', downtime: '4' });
    expect(outcome.result.reason).toBe('');
    const { round, downtime, 'sent bytes': sent } = phases(outcome);
    expect(sent[0]).toBe(8 * MIB);
    // 8 MiB at 1 GiB/s.
    expect(round[0] / 1e6).toBeGreaterThan(7.8);
    expect(round[0] / 1e6).toBeLessThan(9);
    expect(sum(sent)).toBeGreaterThan(8 * MIB);
    expect(sum(sent)).toBeLessThan(14 * MIB);
    expect(downtime[0]).toBeLessThan(5.5e6);
  });

  it('does not converge where the guest dirties faster than the link carries', async () => {
    const outcome = await migrate({
      bandwidth: '64M',
      dirtyRate: '256M',
      downtime: '1',
      rounds: '3',
      pattern: 'uniform',
      bytesPerVcpu: '2M',
    });
    const lines = liveMigration.lines({
      plan: outcome.plan,
      phases: phases(outcome),
      tallies: {},
      complete: true,
      counter: () => 0,
    });
    expect(phases(outcome).round).toHaveLength(3);
    expect(phases(outcome).downtime[0]).toBeGreaterThan(10e6);
    expect(lines).toContain('Did not converge in 3 rounds: the guest dirties faster than the link carries');
  });

  it.each([
    [{ bandwidth: '1K' }, /^--bandwidth 1K: a round of 8M takes 8192 s, and there may be 30; /],
    [{ bandwidth: '0' }, /^--bandwidth 0: must be at least one byte$/],
    [{ bandwidth: '-5M' }, /^--bandwidth: '-5M' is no size/],
    [{ pattern: 'trace' }, /^--pattern trace: give the file of a recorded trace$/],
  ] as [Record<string, string>, RegExp][])('refuses %j', async (options, message) => {
    await expect((async () => await migrate(options))()).rejects.toThrow(message);
  });

  it('brings huge pages back after a while in which they are faulted in', async () => {
    const {
      'guest write before': before,
      'guest write after': after,
      'guest write settled': settled,
    } = phases(await migrate({ pattern: 'uniform', dirtyRate: '1G' }));
    const mean = (ns: readonly number[]): number => sum(ns) / ns.length;
    expect(mean(after)).toBeGreaterThan(1.2 * mean(before));
    expect(mean(settled)).toBeLessThan(1.1 * mean(before));
  });

  it('costs the guest faults by write protection, and none of them with PML', async () => {
    const [protect, pml] = await Promise.all([
      migrate({ bandwidth: '512M' }, { cpu: 'ept' }, ['pml=0', 'ad_bits=N']),
      migrate({ bandwidth: '512M' }, { cpu: 'ept' }),
    ]);
    expect(protect.measurement.kvmStat.pf_fast).toBeGreaterThan(100);
    expect(pml.measurement.kvmStat.pf_fast).toBe(0);
    const [slow, fast] = [protect, pml].map((outcome) => phases(outcome)['guest write pre-copy'][0]);
    expect(slow).toBeGreaterThan(fast);
  });

  it('collapses to huge pages afterwards', async () => {
    const outcome = await migrate({ bandwidth: '1G' });
    expect(outcome.measurement.counters.splits_eager).toBeGreaterThan(0);
    expect(outcome.measurement.kvmStat.pages_2m).toBe(4);
    expect(outcome.measurement.kvmStat.pages_4k).toBe(0);
  });
});
