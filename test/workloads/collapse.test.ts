import { describe, expect, it } from 'vitest';
import { runToEnd } from '../../src/machine/run.ts';
import { MmuCounter } from '../../src/mmu/counters.ts';
import { PG_LEVEL_4K } from '../../src/mmu/level.ts';
import { kvmMmuSlotTrySplitHugePages } from '../../src/mmu/slot-ops.ts';
import { collapse } from '../../src/workloads/collapse.ts';
import { parseOptions } from '../../src/workloads/option.ts';
import { checkOnHugePages } from '../../src/workloads/programs/mapping-levels.ts';
import { BACKING_NAMES, BACKINGS, TEST_SLOT } from '../../src/workloads/programs/memstress-layout.ts';
import { findSlot } from '../../src/workloads/programs/vmm.ts';
import { runSettings } from '../../src/workloads/run-settings.ts';
import { run, runPrepared } from './coroutine-run.ts';

const SMALL = { vcpus: '2', bytesPerVcpu: '2M', iterations: '2', delay: '100', noManualProtect: true };
const HUGE_PAGES = 2;

const onKernel = async (settings: Record<string, string>, sets: readonly string[] = [], given: Record<string, string> = {}) =>
  runPrepared(await collapse.plan(parseOptions(collapse.options, { ...SMALL, ...given }), runSettings(settings, sets)));

describe('collapse', () => {
  it.each([
    ['5.15', {}],
    ['5.18', {}],
    ['6.1', {}],
    ['6.12', {}],
    ['6.13', {}],
    ['6.13', { cpu: 'ept' }],
    ['6.12', { mmu: 'shadow' }],
  ])('splits huge pages under load and gets them back: %s %j', async (kernel, more) => {
    const { tallies, phases, counter, violations } = await onKernel({ kernel, ...more });
    expect(phases.disable).toHaveLength(2);
    expect(tallies['huge before']).toEqual([HUGE_PAGES, HUGE_PAGES]);
    expect(tallies['huge while logging'].every((huge) => huge < HUGE_PAGES)).toBe(true);
    expect(tallies['huge at rest']).toEqual([HUGE_PAGES, HUGE_PAGES]);
    expect(counter(MmuCounter.collapses)).toBeGreaterThanOrEqual(HUGE_PAGES);
    expect(violations()).toEqual([]);
  });

  it('splits by faults where the log is not to split eagerly', async () => {
    const eager = await onKernel({ kernel: '6.13' }, ['eager_page_split=Y']);
    const lazy = await onKernel({ kernel: '6.13' }, ['eager_page_split=N']);
    expect([eager.counter(MmuCounter.splits_eager) > 0, eager.counter(MmuCounter.splits_fault)]).toEqual([true, 0]);
    expect([lazy.counter(MmuCounter.splits_eager), lazy.counter(MmuCounter.splits_fault) > 0]).toEqual([0, true]);
  });

  it('in place leaves nothing to fault in again', async () => {
    const { tallies } = await onKernel({ kernel: '6.13' });
    expect(tallies['huge after']).toEqual([HUGE_PAGES, HUGE_PAGES]);
    expect(tallies['faults at rest']).toEqual([0, 0, 0, 0]);
  });

  it.each(BACKING_NAMES)('ends on the pages that the host has: %s', async (backing) => {
    const { tallies } = await run(collapse, { ...SMALL, vcpus: '1', iterations: '1', backing });
    expect(tallies['huge at rest']).toEqual([BACKINGS[backing].type === '4k' ? 0 : 1]);
  });

  it('notices a page that did not become huge again', async () => {
    const { vm } = await run(collapse, { ...SMALL, iterations: '1' });
    const slot = runToEnd(vm.memory, findSlot(vm, TEST_SLOT))!;
    runToEnd(vm.memory, checkOnHugePages(vm, TEST_SLOT));
    runToEnd(vm.memory, kvmMmuSlotTrySplitHugePages(vm.kvm, slot, PG_LEVEL_4K));
    expect(() => runToEnd(vm.memory, checkOnHugePages(vm, TEST_SLOT))).toThrow(
      /of slot 1 is mapped at level 1 .* slot and host allow level 2/,
    );
  });
});
