import { describe, expect, it } from 'vitest';
import { runWorkload } from '../../src/cli/run-workload.ts';
import { layoutPlan } from '../../src/engines/plan.ts';
import { drive } from '../../src/engines/threads/drive.ts';
import { COUNTER_SLOTS } from '../../src/machine/counters.ts';
import type { Memory } from '../../src/machine/memory.ts';
import { PageState, takePages } from '../../src/machine/page-allocator.ts';
import { type Address, own } from '../../src/machine/point.ts';
import type { SharedMemory } from '../../src/machine/shared-memory.ts';
import { KvmWord } from '../../src/mmu/kvm.ts';
import { asGfn } from '../../src/mmu/level.ts';
import { PageHeader, roleLevel } from '../../src/mmu/mmu-page.ts';
import { VmStat } from '../../src/mmu/vm-stat.ts';
import { QuiescentState } from '../../src/oracles/quiescent-state.ts';
import { runReport } from '../../src/report/run-report.ts';
import { DIRTY_LOG_ROWS, sideBySide } from '../../src/report/side-by-side.ts';
import { PLAIN } from '../../src/report/style.ts';
import { verdictOf, violationsOf } from '../../src/report/verdict.ts';
import { openVm, type Vm } from '../../src/vm/vm.ts';
import { dirtyLog } from '../../src/workloads/dirty-log.ts';
import { parseOptions } from '../../src/workloads/option.ts';
import { runSettings } from '../../src/workloads/run-settings.ts';

const surroundings = { progress: () => {}, signal: new AbortController().signal };

type Prepared = Awaited<ReturnType<typeof dirtyLog.plan>>;

/** A run to its end, where `harm` is done to the state before the oracles see it. */
async function runAndHarm(harm: (vm: Vm, memory: SharedMemory) => void) {
  const common = runSettings({}, []);
  const given = { vcpus: '1', bytesPerVcpu: '2M', iterations: '2', backing: 'anonymous' };
  const prepared: Prepared = await dirtyLog.plan(parseOptions(dirtyLog.options, given), common);
  const { plan } = prepared;
  const { vm: layout, coordinatorId } = layoutPlan(plan, plan.controlWords);
  let memory: SharedMemory | null = null;
  const prepare: Prepared['prepare'] = (control, shared) => {
    memory = shared as SharedMemory;
    prepared.prepare?.(control, shared);
  };
  const progress = (text: string) => {
    if (!text.endsWith('looking at the whole state')) return;
    const environment = {
      memory: memory!,
      now: () => 0,
      needResched: () => false,
      counters: new Float64Array(COUNTER_SLOTS),
      probe: null,
    };
    harm(openVm({ layout, threadId: coordinatorId, environment }), memory!);
  };
  const watched = { ...surroundings, progress };
  return runWorkload({ workload: dirtyLog, prepared: { ...prepared, prepare }, common, surroundings: watched });
}

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

describe('the whole state at the end of a run', () => {
  it('shows what threads did to the SPTE in question', async () => {
    const outcome = await runAndHarm((vm, memory) => {
      const state = new QuiescentState(vm);
      const { allocator, geometry, pages } = vm.kvm;
      let harmed: Address | null = null;
      let last = 0;
      for (let page = 1; page < allocator.pages; page++) {
        if (state.pageState(page) !== PageState.live || roleLevel(state.header(page, PageHeader.role)) !== 1) continue;
        for (let index = 0; index < geometry.entries; index++) {
          const gfn = pages.gfn(page) + index;
          if (gfn < last || state.slotOf(0, asGfn(gfn)) === null) continue;
          harmed = pages.sptep(page, index);
          last = gfn;
        }
      }
      memory.store64(own(harmed!), vm.kvm.spte.frozen);
    });
    const frozen = violationsOf(outcome.examinations).find(({ rule }) => rule === 'left-frozen');
    expect(frozen?.where.level).toBe(1);
    const gfn = `gfn 0x${frozen!.where.gfn!.toString(16)} level 1`;
    const { history = [] } = frozen!;
    for (const line of history) expect(line).toMatch(new RegExp(`^(vcpu 0|ioctl): ${gfn}: 0x.* -> 0x`));
    // The ioctl wrote as the guest did: changes of both threads are there.
    expect(new Set(history.map((line) => line.split(':')[0]))).toEqual(new Set(['vcpu 0', 'ioctl']));
    expect(runReport(outcome, { style: PLAIN, lockstat: false })).toContain(`    ${history.at(-1)}`);
  });

  it('misses a page that is cached, but in no cache', async () => {
    const pages: number[] = [];
    const outcome = await runAndHarm((vm, memory) => {
      drive(memory, takePages(vm.kvm.allocator, vm.thread, 1, pages));
    });
    const leaks = violationsOf(outcome.examinations).filter(({ rule }) => rule === 'leak');
    expect(leaks.map(({ where }) => where.page)).toEqual(pages);
    expect(verdictOf(outcome)).toMatchObject({ kind: 'FAIL', exitCode: 127 });
  });

  it('finds every page in the hands of vCPUs otherwise, and every reference to a root', async () => {
    const outcome = await runAndHarm(() => {});
    expect(violationsOf(outcome.examinations)).toEqual([]);
    expect(verdictOf(outcome).exitCode).toBe(0);
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
