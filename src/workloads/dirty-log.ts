/**
 * The workload `dirty-log`: dirty_log_perf_test.
 */

import {
  backingOption,
  bytesOption,
  crew,
  iterationsOption,
  memstressNotes,
  memstressPlan,
  overlapOption,
  randomAccessOption,
  slotsOption,
  vcpusOption,
  writePercentOption,
} from './memstress-plan.ts';
import { flagOf, numberOf, type OptionTable } from './option.ts';
import { seconds, sumOf } from './selftest-time.ts';
import type { PhaseTimes, Workload } from './workload.ts';

/** KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE and KVM_DIRTY_LOG_INITIALLY_SET. */
const MANUAL_PROTECT = 3;

const OPTIONS: OptionTable = [
  vcpusOption(),
  bytesOption(),
  iterationsOption(2, 'number of iterations'),
  backingOption,
  writePercentOption,
  {
    key: 'randomSeed',
    letter: 'r',
    long: 'random-seed',
    kind: 'number',
    default: 0,
    min: 0,
    max: 2 ** 31 - 1,
    help: 'seed of the guests: another name of --seed (0: that of --seed)',
  },
  overlapOption,
  randomAccessOption,
  slotsOption,
  {
    key: 'noManualProtect',
    letter: 'g',
    long: 'no-manual-protect',
    kind: 'flag',
    help: 'do not enable KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2: KVM_GET_DIRTY_LOG clears as well',
  },
  {
    key: 'runWhileDisabling',
    letter: 'e',
    long: 'run-while-disabling',
    kind: 'flag',
    help: 'run vCPUs while dirty logging is being disabled',
  },
  {
    key: 'live',
    long: 'live',
    kind: 'flag',
    help: 'run vCPUs while the log is read and cleared, as under a live migration (not in the selftest)',
  },
];

/** The lines of the selftest, as far as the phases got. */
export function dirtyLogLines(phases: PhaseTimes): string[] {
  const { populate = [], enable = [], dirty = [], get = [], clear = [], settle = [], disable = [] } = phases;
  const total = (verb: string, times: readonly number[]): string =>
    `${verb} dirty log over ${times.length} iterations took ${seconds(sumOf(times))}s. (Avg ${seconds(sumOf(times) / times.length)}s/iteration)`;
  return [
    ...populate.map((ns) => `Populate memory time: ${seconds(ns)}s`),
    ...enable.map((ns) => `Enabling dirty logging time: ${seconds(ns)}s`),
    '',
    ...(settle.length > 0 ? settle : dirty).flatMap((ns, i) => [
      settle.length > 0
        ? `Iteration ${i + 1} vCPUs at rest after the harvest: ${seconds(ns)}s`
        : `Iteration ${i + 1} dirty memory time: ${seconds(ns)}s`,
      ...(i < get.length ? [`Iteration ${i + 1} get dirty log time: ${seconds(get[i])}s`] : []),
      ...(i < clear.length ? [`Iteration ${i + 1} clear dirty log time: ${seconds(clear[i])}s`] : []),
    ]),
    '',
    ...disable.map((ns) => `Disabling dirty logging time: ${seconds(ns)}s`),
    ...(get.length > 0 ? [total('Get', get)] : []),
    ...(clear.length > 0 ? [total('Clear', clear)] : []),
  ];
}

export const dirtyLog: Workload = {
  name: 'dirty-log',
  summary: 'vCPUs dirty memory while the ioctl thread gets and clears the dirty log',
  selftest: 'dirty_log_perf_test',
  options: OPTIONS,
  async plan(options, common) {
    const seed = numberOf(options, 'randomSeed') || common.seed;
    const plan = memstressPlan({
      workload: 'dirty-log',
      options,
      common: { ...common, seed },
      threads: crew(numberOf(options, 'vcpus'), { vcpu: 'dirty-log-vcpu', ioctl: 'dirty-log-ioctl' }),
      params: { manualProtect: flagOf(options, 'noManualProtect') ? 0 : MANUAL_PROTECT },
    });
    return { plan, notes: [`Test iterations: ${numberOf(options, 'iterations')}`, ...memstressNotes(plan)] };
  },
  lines: ({ phases }) => dirtyLogLines(phases),
};
