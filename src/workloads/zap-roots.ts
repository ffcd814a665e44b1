/**
 * The workload `zap-roots`: the fast zap of all roots while vCPUs fault everything in again.
 */
import { memstressWorkload } from './memstress-workload.ts';
import { tookLine } from './selftest-time.ts';
import { PAGE_BYTES } from './size.ts';

export const zapRoots = memstressWorkload({
  name: 'zap-roots',
  summary: 'all roots are zapped at once, again and again, while vCPUs refault',
  bytesPerVcpu: 64 * 2 ** 20,
  iterations: { default: 100, help: 'number of times that all roots are zapped' },
  delay: { default: 1000 },
  options: [
    {
      key: 'stride',
      long: 'stride',
      kind: 'size',
      default: PAGE_BYTES,
      unit: PAGE_BYTES,
      help: 'bytes from one page that a vCPU touches to the next: with 2M every page-table page maps one page',
    },
  ],
  programs: { vcpu: 'stress-vcpu', ioctl: 'zap-roots' },
  copies: 4,
  lines({ phases: { zap = [] } }) {
    return zap.length === 0 ? [] : [tookLine(`Zapping all roots ${zap.length} times`, zap)];
  },
});
