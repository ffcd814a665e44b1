/**
 * The workload `demand-paging`: demand_paging_test, without its userfaultfd modes.
 */
import { backingOption, bytesOption, crew, memstressNotes, memstressPlan, overlapOption, vcpusOption } from './memstress-plan.ts';
import { numberOf, type OptionTable } from './option.ts';
import { memstressLayout } from './programs/memstress-layout.ts';
import { seconds } from './selftest-time.ts';
import { PAGE_BYTES } from './size.ts';
import type { Workload } from './workload.ts';

const OPTIONS: OptionTable = [
  vcpusOption(),
  bytesOption(),
  backingOption,
  overlapOption,
  {
    key: 'stride',
    long: 'stride',
    kind: 'size',
    default: PAGE_BYTES,
    unit: PAGE_BYTES,
    help: 'distance of two accesses; more than a page for a guest of terabytes that is touched here and there',
  },
];

export const demandPaging: Workload = {
  name: 'demand-paging',
  summary: 'vCPUs touch untouched memory: every access is a fault',
  selftest: 'demand_paging_test',
  options: OPTIONS,
  async plan(options, common) {
    const plan = memstressPlan({
      workload: 'demand-paging',
      options,
      common,
      threads: crew(numberOf(options, 'vcpus'), { vcpu: 'demand-paging-vcpu', ioctl: 'demand-paging-ioctl' }),
    });
    return { plan, notes: memstressNotes(plan) };
  },
  lines({ plan, phases }) {
    const [ns] = phases.execution ?? [];
    if (ns === undefined) return [];
    const vcpus = numberOf(plan.options, 'vcpus');
    const { pagesPerVcpu, pages } = memstressLayout(plan.options);
    // As the selftest counts: with -o, each vCPU touches all pages.
    const touched = Math.ceil(
      ((plan.options.overlap === true ? pages : pagesPerVcpu) * PAGE_BYTES) / numberOf(plan.options, 'stride'),
    );
    const rate = touched / (ns / 1e9);
    return [
      `Total guest execution time:\t${seconds(ns)}s`,
      `Per-vcpu demand paging rate:\t${rate.toFixed(6)} pgs/sec/vcpu`,
      `Overall demand paging rate:\t${(rate * vcpus).toFixed(6)} pgs/sec`,
    ];
  },
};
