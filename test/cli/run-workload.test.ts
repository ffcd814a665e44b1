import { describe, expect, it } from 'vitest';
import { runWorkload } from '../../src/cli/run-workload.ts';
import { layoutPlan } from '../../src/engines/plan.ts';
import type { Memory } from '../../src/machine/memory.ts';
import { type Address, own } from '../../src/machine/point.ts';
import { KvmWord } from '../../src/mmu/kvm.ts';
import { VmStat } from '../../src/mmu/vm-stat.ts';
import { runReport } from '../../src/report/run-report.ts';
import { DIRTY_LOG_ROWS, sideBySide } from '../../src/report/side-by-side.ts';
import { PLAIN } from '../../src/report/style.ts';
import { verdictOf } from '../../src/report/verdict.ts';
import { dirtyLog } from '../../src/workloads/dirty-log.ts';
import { parseOptions } from '../../src/workloads/option.ts';
import { runSettings } from '../../src/workloads/run-settings.ts';

const surroundings = { progress: () => {}, signal: new AbortController().signal };

/** @param spoil whether a statistic starts wrong, which no program notices */
async function run(sets: string[], spoil = false) {
  const common = runSettings({}, sets);
  const given = { vcpus: '1', bytesPerVcpu: '2M', iterations: '3', backing: 'anonymous_hugetlb_2mb' };
  const prepared = await dirtyLog.plan(parseOptions(dirtyLog.options, given), common);
  const { plan } = prepared;
  const word = layoutPlan(plan, plan.controlWords).vm.kvm.words + KvmWord.stats + 2 * VmStat.pages2m;
  const spoiled = { ...prepared, prepare: (_: unknown, memory: Memory) => memory.store32(own(word as Address), 7) };
  return runWorkload({ workload: dirtyLog, prepared: spoil ? spoiled : prepared, common, surroundings });
}

describe('a run in which something is wrong', () => {
  it('ends at the checkpoint where an oracle objects, with what, where and exit 127', async () => {
    const outcome = await run([], true);
    expect(verdictOf(outcome)).toMatchObject({ kind: 'FAIL', exitCode: 127, text: expect.stringMatching(/^statistics: .*7/) });
    expect(outcome.examinations.map(({ at }) => at)).toEqual(['checkpoint 1']);
    const report = runReport(outcome, { style: PLAIN, lockstat: false });
    expect(report).toContain('Violations');
    expect(report.filter((line) => line.startsWith('  statistics: ')).length).toBeGreaterThan(0);
    // The selftest's lines end where the run did.
    expect(report.some((line) => line.startsWith('Iteration 1'))).toBe(true);
    expect(report.some((line) => line.startsWith('Iteration 2'))).toBe(false);
  });
});

describe('two runs side by side', () => {
  it('show who split huge pages, and the ratio', async () => {
    const lines = sideBySide(['off', 'on'], [await run(['eager_page_split=N']), await run([])], DIRTY_LOG_ROWS);
    const row = (name: string): string[] =>
      lines
        .find((line) => line.startsWith(name))!
        .slice(name.length)
        .trim()
        .split(/\s{2,}/);
    expect(row('huge pages split eagerly')).toEqual(['0', '1', '-']);
    expect(row('huge pages split by faults')).toEqual(['1', '0', '0.00x']);
    expect(row('faults fixed without it (fast)')).toEqual(['512', '1,024', '2.00x']);
    expect(row('dirty memory time')).toHaveLength(3);
  });
});
