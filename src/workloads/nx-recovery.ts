/**
 * The workload `nx-recovery`: huge pages are split because they are executed, and recovered period by period.
 */
import { memstressWorkload } from './memstress-workload.ts';
import { numberOf } from './option.ts';
import { tookLine } from './selftest-time.ts';

export const nxRecovery = memstressWorkload({
  name: 'nx-recovery',
  summary: 'huge pages split for execution are recovered while vCPUs execute others',
  bytesPerVcpu: 64 * 2 ** 20,
  backing: 'anonymous_thp',
  iterations: { default: 50, help: 'number of periods of the recovery thread' },
  delay: { default: 1000, help: 'microseconds from one period to the next' },
  options: [
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
  ],
  programs: { vcpu: 'execute-vcpu', ioctl: 'recover-periodically' },
  params: (options) => ({ nxHugePages: 1, nxHugePagesRecoveryRatio: numberOf(options, 'ratio') }),
  copies: 4,
  lines({ phases: { recover = [] }, counter }) {
    if (recover.length === 0) return [];
    return [tookLine(`Recovering ${counter('nx_recovered')} pages in ${recover.length} periods`, recover)];
  },
});
