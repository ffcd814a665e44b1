/**
 * The workload `collapse`: dirty logging is toggled under load, so that huge pages are split and come back.
 */

import { DEFAULT_KERNEL, generationFor } from '../mmu/generation.ts';
import { randomAccessOption, slotsOption, writePercentOption } from './memstress-plan.ts';
import { memstressWorkload } from './memstress-workload.ts';
import { flagOf } from './option.ts';
import { seconds, sumOf, tookLine } from './selftest-time.ts';
import type { WorkloadResult } from './workload.ts';

/** KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE and KVM_DIRTY_LOG_INITIALLY_SET. */
const MANUAL_PROTECT = 3;

export const collapse = memstressWorkload({
  name: 'collapse',
  summary: 'dirty logging is toggled under load: huge pages are split, and come back',
  bytesPerVcpu: 64 * 2 ** 20,
  backing: 'anonymous_thp',
  iterations: { default: 10, help: 'number of times that logging is switched on and off' },
  delay: { default: 1000, help: 'microseconds of load before logging begins, before each harvest and before it ends' },
  options: [
    { ...writePercentOption, default: 50 },
    randomAccessOption,
    slotsOption,
    {
      key: 'noManualProtect',
      letter: 'g',
      long: 'no-manual-protect',
      kind: 'flag',
      help: 'do not enable KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2: pages are protected, and split, when logging begins',
    },
    {
      key: 'harvests',
      letter: 'n',
      long: 'harvests',
      kind: 'number',
      default: 1,
      min: 0,
      max: 1000,
      help: 'number of times that the log is got and cleared before it ends',
    },
  ],
  programs: { vcpu: 'collapse-vcpu', ioctl: 'collapse-ioctl' },
  params: (options) => ({ manualProtect: flagOf(options, 'noManualProtect') ? 0 : MANUAL_PROTECT }),
  copies: 4,
  lines: collapseLines,
});

const average = (values: readonly number[]): string =>
  values.length === 0 ? '-' : String(Math.round((10 * sumOf(values)) / values.length) / 10);

function collapseLines({ plan, phases, tallies, counter }: WorkloadResult): string[] {
  const { populate = [], enable = [], harvest = [], disable = [], refault = [] } = phases;
  const huge = (when: string): string => average(tallies[`huge ${when}`] ?? []);
  const faults = (when: string): number => sumOf(tallies[`faults ${when}`] ?? []);
  const inPlace =
    generationFor(plan.vm.kernel ?? DEFAULT_KERNEL, plan.vm.behaviours).recoverHugePages === 'in-place' &&
    plan.vm.mmu !== 'shadow';
  const how = inPlace ? 'replaced in place' : 'zapped';
  return [
    ...populate.map((ns) => `Populate memory time: ${seconds(ns)}s`),
    ...(enable.length > 0 ? [tookLine(`Enabling dirty logging ${enable.length} times`, enable)] : []),
    ...(harvest.length > 0 ? [tookLine(`Harvesting the dirty log ${harvest.length} times`, harvest)] : []),
    ...(disable.length > 0 ? [tookLine(`Disabling dirty logging ${disable.length} times`, disable)] : []),
    ...(refault.length > 0 ? [tookLine(`Touching all memory afterwards ${refault.length} times`, refault)] : []),
    ...(disable.length > 0
      ? [
          `Huge pages, on average: ${huge('before')} before, ${huge('while logging')} while logging, ${huge('after')} when it has ended, ${huge('at rest')} after all memory was touched`,
          `Split eagerly ${counter('splits_eager')}, by faults ${counter('splits_fault')}; ${counter('collapses')} ${how} to come back, with ${sumOf(tallies['flushes while disabling'] ?? [])} TLB flushes`,
          `Faults: ${faults('under load')} under load, ${faults('at rest')} when all memory was touched afterwards`,
        ]
      : []),
  ];
}
