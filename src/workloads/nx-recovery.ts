/**
 * The workload `nx-recovery`: huge pages are split because they are executed, and recovered period by period.
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
import { type ChoiceOption, numberOf, type OptionTable } from './option.ts';
import { seconds, sumOf } from './selftest-time.ts';
import type { Workload } from './workload.ts';

const OPTIONS: OptionTable = [
  vcpusOption(),
  bytesOption(64 * 2 ** 20),
  iterationsOption(50, 'number of periods of the recovery thread'),
  { ...(backingOption as ChoiceOption), default: 'anonymous_thp' },
  overlapOption,
  { ...delayOption, default: 1000, help: 'microseconds from one period to the next' },
  {
    key: 'executePercent',
    letter: 'e',
    long: 'execute',
    kind: 'number',
    default: 10,
    min: 0,
    max: 100,
    help: 'percent of accesses that execute',
  },
  {
    key: 'ratio',
    letter: 'n',
    long: 'ratio',
    kind: 'number',
    default: 2,
    min: 1,
    max: 1000,
    help: '1/n of the split pages is recovered a period',
  },
];

export const nxRecovery: Workload = {
  name: 'nx-recovery',
  summary: 'huge pages split for execution are recovered while vCPUs execute others',
  options: OPTIONS,
  async plan(options, common) {
    const plan = memstressPlan({
      workload: 'nx-recovery',
      options,
      common,
      threads: crew(numberOf(options, 'vcpus'), { vcpu: 'execute-vcpu', ioctl: 'recover-periodically' }),
      params: { nxHugePages: 1, nxHugePagesRecoveryRatio: numberOf(options, 'ratio') },
      copies: 4,
    });
    return { plan, notes: memstressNotes(plan) };
  },
  lines({ phases, counter }) {
    const { recover = [] } = phases;
    if (recover.length === 0) return [];
    const average = seconds(sumOf(recover) / recover.length);
    return [
      `Recovering ${counter('nx_recovered')} pages in ${recover.length} periods took ${seconds(sumOf(recover))}s. (Avg ${average}s)`,
    ];
  },
};
