/**
 * The workload `notifier-storm`: the host drops, protects and ages guest memory while vCPUs use it.
 */
import {
  backingOption,
  bytesOption,
  crew,
  delayOption,
  iterationsOption,
  memstressNotes,
  memstressPlan,
  overlapOption,
  vcpusOption,
} from './memstress-plan.ts';
import { type NumberOption, numberOf, type OptionTable } from './option.ts';
import { seconds, sumOf } from './selftest-time.ts';
import { PAGE_BYTES } from './size.ts';
import { UsageError } from './usage-error.ts';
import type { Workload } from './workload.ts';

const OPERATIONS = ['unmap', 'protect', 'age'] as const;

const share = (key: string, help: string): NumberOption => ({
  key,
  long: key,
  kind: 'number',
  default: 1,
  min: 0,
  max: 1000,
  help,
});

const OPTIONS: OptionTable = [
  vcpusOption(),
  bytesOption(64 * 2 ** 20),
  iterationsOption(200, 'number of operations of each host thread'),
  backingOption,
  overlapOption,
  delayOption,
  { key: 'hosts', letter: 'n', long: 'hosts', kind: 'number', default: 1, min: 1, max: 64, help: 'number of host threads' },
  {
    key: 'range',
    letter: 'l',
    long: 'range',
    kind: 'size',
    default: 2 * 2 ** 20,
    unit: PAGE_BYTES,
    help: 'length of the range that an operation is about',
  },
  share('unmap', 'share of MADV_DONTNEED among the operations'),
  share('protect', 'share of mprotect to read-only and back'),
  share('age', 'share of clear_young over the range'),
];

export const notifierStorm: Workload = {
  name: 'notifier-storm',
  summary: 'the host unmaps, protects and ages ranges under faulting vCPUs',
  options: OPTIONS,
  async plan(options, common) {
    if (OPERATIONS.every((name) => numberOf(options, name) === 0)) {
      throw new UsageError('--unmap 0 --protect 0 --age 0: at least one of them must be more than 0');
    }
    const plan = memstressPlan({
      workload: 'notifier-storm',
      options: { ...options, rangePages: numberOf(options, 'range') / PAGE_BYTES },
      common,
      threads: crew(
        numberOf(options, 'vcpus'),
        { vcpu: 'stress-vcpu', ioctl: 'notifier-storm-ioctl', host: 'notifier-storm-host' },
        numberOf(options, 'hosts'),
      ),
      moves: true,
    });
    return { plan, notes: memstressNotes(plan) };
  },
  lines({ phases }) {
    return OPERATIONS.flatMap((name) => {
      const times = phases[name] ?? [];
      if (times.length === 0) return [];
      return [`${name} of ${times.length} ranges took ${seconds(sumOf(times))}s. (Avg ${seconds(sumOf(times) / times.length)}s)`];
    });
  },
};
