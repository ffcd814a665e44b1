/**
 * The workload `zap-roots`: the fast zap of all roots while vCPUs fault everything in again.
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
import { numberOf, type OptionTable } from './option.ts';
import { seconds, sumOf } from './selftest-time.ts';
import type { Workload } from './workload.ts';

const OPTIONS: OptionTable = [
  vcpusOption(),
  bytesOption(64 * 2 ** 20),
  iterationsOption(100, 'number of times that all roots are zapped'),
  backingOption,
  overlapOption,
  { ...delayOption, default: 1000 },
];

export const zapRoots: Workload = {
  name: 'zap-roots',
  summary: 'all roots are zapped at once, again and again, while vCPUs refault',
  options: OPTIONS,
  async plan(options, common) {
    const plan = memstressPlan({
      workload: 'zap-roots',
      options,
      common,
      threads: crew(numberOf(options, 'vcpus'), { vcpu: 'stress-vcpu', ioctl: 'zap-roots' }),
      copies: 4,
    });
    return { plan, notes: memstressNotes(plan) };
  },
  lines({ phases }) {
    const { zap = [] } = phases;
    if (zap.length === 0) return [];
    return [`Zapping all roots ${zap.length} times took ${seconds(sumOf(zap))}s. (Avg ${seconds(sumOf(zap) / zap.length)}s)`];
  },
};
