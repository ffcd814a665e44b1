import { describe, expect, it } from 'vitest';
import { MmuCounter } from '../../src/mmu/counters.ts';
import { VmCounter } from '../../src/vm/vm-counters.ts';
import { aging } from '../../src/workloads/aging.ts';
import { parseOptions } from '../../src/workloads/option.ts';
import { AGINGS } from '../../src/workloads/programs/aging.ts';
import { runSettings } from '../../src/workloads/run-settings.ts';
import { runPrepared } from './coroutine-run.ts';

const SMALL = { vcpus: '2', bytesPerVcpu: '512K', iterations: '12', hosts: '2', range: '64K' };
const PAGES = 256;

const runAging = async (settings: Record<string, string> = {}, sets: readonly string[] = [], given = {}) =>
  runPrepared(await aging.plan(parseOptions(aging.options, { ...SMALL, ...given }), runSettings(settings, sets)));

const sum = (values: readonly number[] = []): number => values.reduce((total, value) => total + value, 0);

describe('aging', () => {
  it('goes through the iterations of the selftest, and finds what was used young', async () => {
    const { phases, tallies, violations } = await runAging();
    const rounds = ['Populating memory', 'Writing to populated memory', 'Reading from populated memory', 'Mark memory idle'];
    expect(rounds.map((name) => phases[name].length)).toEqual([1, 1, 1, 2]);
    expect(sum(tallies['marked in round 4'])).toBe(PAGES);
    expect(sum(tallies['still idle in round 4'])).toBe(0);
    // No flush came between: what the TLBs still held was written without a walk.
    expect(sum(tallies['still idle in round 6'])).toBeLessThan(PAGES / 2);
    expect(sum(AGINGS.map((how) => phases[how].length))).toBe(24);
    expect(violations()).toEqual([]);
  });

  it.each(['5.15', '5.18', '6.1', '6.12', '6.13'])('flushes for clear_flush_young, but not in 6.13: %s', async (kernel) => {
    const { counter, tallies, violations } = await runAging({ kernel });
    const [flushed, elided] = [counter(VmCounter.age_flushes), counter(VmCounter.age_flushes_elided)];
    expect([flushed > 0, elided > 0]).toEqual([kernel !== '6.13', kernel === '6.13']);
    if (kernel !== '6.13') expect(tallies['still idle at the end']).toEqual([0]);
    expect(violations()).toEqual([]);
  });

  it.each([['tdp'], ['shadow']])('restores access without mmu_lock where there are no A/D bits: %s', async (mmu) => {
    const { counter, violations } = await runAging({ cpu: 'ept', mmu }, ['ept_ad_bits=N']);
    expect(counter(MmuCounter.cmpxchg_fast)).toBeGreaterThan(PAGES);
    expect(violations()).toEqual([]);
  });

  it('looks at the memory that all vCPUs share once a round', async () => {
    const { tallies } = await runAging({}, [], { overlap: true });
    expect(tallies['marked in round 4']).toEqual([PAGES]);
  });

  it('wants one kind of call at least', async () => {
    const none = { clear_young: '0', clear_flush_young: '0', test_young: '0' };
    await expect(runAging({}, [], none)).rejects.toThrow('--clear-young 0 --clear-flush-young 0 --test-young 0: at least one');
  });
});
