/**
 * The workload `notifier-storm`: the host drops, protects and ages guest memory while vCPUs use it.
 */

import { checkShares, hostsOption, rangeOption, rangePages, shareOption } from './memstress-plan.ts';
import { memstressWorkload } from './memstress-workload.ts';
import { numberOf } from './option.ts';
import { tookLine } from './selftest-time.ts';

const OPERATIONS = ['unmap', 'protect', 'age'] as const;

export const notifierStorm = memstressWorkload({
  name: 'notifier-storm',
  summary: 'the host unmaps, protects and ages ranges under faulting vCPUs',
  bytesPerVcpu: 64 * 2 ** 20,
  iterations: { default: 200, help: 'number of operations of each host thread' },
  options: [
    hostsOption,
    rangeOption,
    shareOption('unmap', 'share of MADV_DONTNEED among the operations'),
    shareOption('protect', 'share of mprotect to read-only and back'),
    shareOption('age', 'share of clear_young over the range'),
  ],
  programs: { vcpu: 'stress-vcpu', ioctl: 'notifier-storm-ioctl', host: 'notifier-storm-host' },
  moves: true,
  hosts: (options) => numberOf(options, 'hosts'),
  derived: rangePages,
  check(options) {
    checkShares(options, OPERATIONS);
  },
  lines({ phases }) {
    return OPERATIONS.flatMap((name) => {
      const times = phases[name] ?? [];
      return times.length === 0 ? [] : [tookLine(`${name} of ${times.length} ranges`, times)];
    });
  },
});
