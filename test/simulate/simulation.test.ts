import { afterAll, describe, expect, it } from 'vitest';
import { PROFILES, skylake2s96 } from '../../src/engines/virtual/profiles/index.ts';
import { SimulationPool } from '../../src/simulate/pool.ts';
import { profileFor, type SimulationOutcome, type SimulationTask, simulate } from '../../src/simulate/simulation.ts';
import { findWorkload } from '../../src/workloads/index.ts';
import { parseOptions } from '../../src/workloads/option.ts';
import { runSettings } from '../../src/workloads/run-settings.ts';

interface Extra extends Partial<Omit<SimulationTask, 'settings'>> {
  readonly run?: Record<string, string>;
  readonly sets?: string[];
}

function task(
  workload: string,
  options: Record<string, string | boolean>,
  { run = {}, sets = [], ...rest }: Extra = {},
): SimulationTask {
  return {
    workload,
    options: parseOptions(findWorkload(workload).options, options),
    settings: runSettings(run, sets),
    profile: skylake2s96,
    ...rest,
  };
}

/** Everything that equal runs have equal: all but real time. */
const comparable = ({ realSeconds: _, ...outcome }: SimulationOutcome): string => JSON.stringify(outcome);

const execution = ({ measurement }: SimulationOutcome): number =>
  measurement.phases.find(({ name }) => name === 'execution')?.totalNs ?? Number.NaN;

describe('what theory says', () => {
  it('lets one vCPU wait for nothing', async () => {
    const { virtual, measurement, result } = await simulate(task('demand-paging', { vcpus: '1', bytesPerVcpu: '1M' }));
    expect(result.reason).toBe('');
    expect(measurement.faults.taken).toBe(256);
    expect(virtual.vcpus.groups.mmuLock).toBe(0);
    expect(measurement.locks.filter(({ contended }) => contended > 0)).toEqual([]);
    expect(virtual.vcpus.causes.lineQueue ?? 0).toBe(0);
  });

  it('divides faults by 512 where pages are 512 times as large', async () => {
    const [small, large] = await Promise.all(
      ['anonymous', 'anonymous_hugetlb_2mb'].map((backing) =>
        simulate(task('demand-paging', { vcpus: '2', bytesPerVcpu: '4M', backing })),
      ),
    );
    expect(small.measurement.faults.taken).toBe(2048);
    expect(large.measurement.faults.taken).toBe(2048 / 512);
  });

  it('limits faults in parallel by the transfers of the line that all readers of mmu_lock update', async () => {
    const rate = async (vcpus: number, transferNs: number): Promise<number> => {
      const profile = { ...skylake2s96, transfer: { ...skylake2s96.transfer, socketNs: transferNs, remoteNs: transferNs } };
      const outcome = await simulate(
        task('demand-paging', { vcpus: String(vcpus), bytesPerVcpu: '1M' }, { profile, measure: false }),
      );
      return (outcome.measurement.faults.taken / execution(outcome)) * 1e9;
    };
    // Two atomic updates a fault, each of which brings the line: nobody can do better than that.
    const bound = 1e9 / (2 * (200 + skylake2s96.access.atomicNs));
    const [half, all] = await Promise.all([rate(24, 200), rate(48, 200)]);
    expect(all).toBeLessThan(bound);
    expect(all).toBeGreaterThan(0.6 * bound);
    expect(all / half).toBeLessThan(1.3);
  });

  it('makes a spinlock the bottleneck where a rwlock is none', async () => {
    const options = { vcpus: '48', bytesPerVcpu: '512K' };
    const [rwlock, spinlock] = await Promise.all(
      ['rwlock', 'spinlock'].map((lock) => simulate(task('demand-paging', options, { run: { lock } }))),
    );
    const share = ({ virtual }: SimulationOutcome): number => virtual.vcpus.groups.mmuLock / virtual.vcpus.busyNs;
    expect(share(spinlock)).toBeGreaterThan(0.5);
    expect(share(spinlock)).toBeGreaterThan(2 * share(rwlock));
    expect(execution(spinlock)).toBeGreaterThan(1.2 * execution(rwlock));
    const mmuLock = spinlock.virtual.locks.find(({ lock }) => lock === 'mmu_lock')!;
    expect(Math.max(...mmuLock.writer)).toBeGreaterThan(0.5);
    expect(Math.max(...mmuLock.writer)).toBeLessThanOrEqual(1.0001);
  });

  it('accounts for all time, and adds groups up to causes', async () => {
    const { virtual } = await simulate(task('dirty-log', { vcpus: '3', bytesPerVcpu: '1M', iterations: '1' }));
    const { groups, causes, totalNs } = virtual.vcpus;
    const sum = (values: Readonly<Record<string, number>>): number => Object.values(values).reduce((a, b) => a + b, 0);
    expect(sum(groups)).toBeCloseTo(totalNs, 0);
    expect(sum(causes)).toBeCloseTo(totalNs, 0);
    expect(groups.guest).toBeGreaterThan(0);
    expect(virtual.stall.ns).toBeGreaterThan(0);
    expect(virtual.rcu?.operation).not.toBe('none');
    expect(virtual.lostWakes).toBe(0);
  });
});

describe('runs', () => {
  it('are equal to the byte for equal seeds, and differ for others', async () => {
    const options = { vcpus: '6', bytesPerVcpu: '512K', iterations: '2', randomAccess: true };
    const runs = await Promise.all(['7', '7', '8'].map((seed) => simulate(task('dirty-log', options, { run: { seed } }))));
    expect(comparable(runs[1])).toBe(comparable(runs[0]));
    expect(comparable(runs[2])).not.toBe(comparable(runs[0]));
  });

  it('end by --duration, with everybody at rest', async () => {
    const { result, timeOver, measurement } = await simulate(
      task('zap-roots', { vcpus: '3', bytesPerVcpu: '512K', iterations: '1000000', delay: '50' }, { run: { duration: '0.002' } }),
    );
    expect(result.reason).toBe('');
    expect(timeOver).toBe(true);
    expect(result.elapsedNs).toBeGreaterThan(2e6);
    expect(result.elapsedNs).toBeLessThan(4e6);
    expect(result.threads.every(({ state, holds }) => state === 'done' && holds.length === 0)).toBe(true);
    expect(measurement.phases.find(({ name }) => name === 'zap')?.ns.length).toBeGreaterThan(3);
  });

  it('leave a state in which the oracles find nothing wrong', async () => {
    const { examinations } = await simulate(
      task('memslot-modification', { vcpus: '4', bytesPerVcpu: '512K', iterations: '5' }, { check: true }),
    );
    expect(examinations).toHaveLength(1);
    expect(examinations[0].reports.flatMap(({ violations }) => violations)).toEqual([]);
  });
});

describe('the pool', () => {
  const pool = new SimulationPool({ workers: 1 });
  afterAll(() => pool.close());

  it('gives the same result from the build whose coroutines are plain functions', async () => {
    const one = task('dirty-log', { vcpus: '5', bytesPerVcpu: '1M', iterations: '2' }, { sets: ['eager_page_split=N'] });
    const [slow, fast] = [await simulate(one), await pool.run(one)];
    expect(fast.virtual.steps).toBeGreaterThan(100_000);
    expect(comparable(fast)).toBe(comparable(JSON.parse(JSON.stringify(slow))));
  });

  it('tells of a guest that is too big in one line', async () => {
    const big = task('demand-paging', { vcpus: '1024', bytesPerVcpu: '4G' });
    await expect(pool.run(big)).rejects.toThrow(
      /^a guest of this size needs at least \d+G of page tables; less than 8G can be had: [^\n]*$/,
    );
  });
});

describe('profileFor', () => {
  it('takes the smallest machine with a CPU for each vCPU, or the largest', () => {
    expect([1, 8, 9, 96, 97, 416, 1024].map((n) => profileFor(n).name)).toEqual([
      'laptop-8',
      'laptop-8',
      'skylake-2s-96',
      'skylake-2s-96',
      'ultramem-416',
      'ultramem-416',
      'ultramem-416',
    ]);
    expect(Object.keys(PROFILES)).toHaveLength(3);
  });
});
