/**
 * The workload `notifier-storm`: the host drops, protects and ages guest memory while vCPUs use it.
 */
import { memstressWorkload } from './memstress-workload.ts';
import { type NumberOption, numberOf } from './option.ts';
import { tookLine } from './selftest-time.ts';
import { PAGE_BYTES } from './size.ts';
import { UsageError } from './usage-error.ts';

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

export const notifierStorm = memstressWorkload({
  name: 'notifier-storm',
  summary: 'the host unmaps, protects and ages ranges under faulting vCPUs',
  bytesPerVcpu: 64 * 2 ** 20,
  iterations: { default: 200, help: 'number of operations of each host thread' },
  options: [
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
  ],
  programs: { vcpu: 'stress-vcpu', ioctl: 'notifier-storm-ioctl', host: 'notifier-storm-host' },
  moves: true,
  hosts: (options) => numberOf(options, 'hosts'),
  derived: (options) => ({ rangePages: numberOf(options, 'range') / PAGE_BYTES }),
  check(options) {
    if (OPERATIONS.every((name) => numberOf(options, name) === 0)) {
      throw new UsageError('--unmap 0 --protect 0 --age 0: at least one of them must be more than 0');
    }
  },
  lines({ phases }) {
    return OPERATIONS.flatMap((name) => {
      const times = phases[name] ?? [];
      return times.length === 0 ? [] : [tookLine(`${name} of ${times.length} ranges`, times)];
    });
  },
});
