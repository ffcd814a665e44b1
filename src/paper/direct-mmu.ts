/**
 * The direct MMU (B. Gardon, RFC of September 2019), which became the TDP MMU: demand paging by userfaultfd on 416 vCPUs.
 */
import { RMAP_HEAD_BYTES } from '../shadow/shadow-layout.ts';
import type { SimulationOutcome, SimulationTask } from '../simulate/simulation.ts';
import type { Figure, Paper, Scale } from './figure.ts';
import { EAGER_SPLIT_FIT, fittedUltramem } from './fitted-profiles.ts';
import { taskFor } from './tasks.ts';

const VCPUS = 416;
const PAGE_BYTES = 4096;

/** Guest memory of each vCPU in the two runs whose difference is taken: what starting costs is in both. */
const SIZES: Readonly<Record<Scale, readonly [string, string]>> = { default: ['256K', '768K'], full: ['256K', '4G'] };

function task(mmu: 'shadow' | 'tdp', bytes: string): SimulationTask {
  return {
    ...taskFor({
      workload: 'demand-paging',
      profile: fittedUltramem(EAGER_SPLIT_FIT),
      options: { vcpus: String(VCPUS), bytesPerVcpu: bytes },
      settings: { lock: mmu === 'shadow' ? 'spinlock' : 'rwlock', kernel: '5.15', cpu: 'ept' },
    }),
    vm: { mmu },
    userfaultfd: true,
    measure: false,
  };
}

/** What the additional pages of the larger run took: all vCPUs together. */
interface Marginal {
  readonly ns: number;
  readonly mmuLock: number;
  readonly mmuLine: number;
  readonly hostFault: number;
}

function marginal(small: SimulationOutcome, large: SimulationOutcome): Marginal {
  const part = (of: (outcome: SimulationOutcome) => number): number => of(large) - of(small);
  const total = part(({ virtual }) => virtual.vcpus.busyNs);
  return {
    ns: total,
    mmuLock: part(({ virtual }) => virtual.vcpus.groups.mmuLock) / total,
    mmuLine: part(({ virtual }) => virtual.vcpus.groups.cacheLine) / total,
    hostFault: part(({ virtual }) => virtual.vcpus.groups.hostFault) / total,
  };
}

export const directMmu: Paper = {
  name: 'direct-mmu',
  title: 'A direct MMU without reverse maps, with faults in parallel',
  source: 'B. Gardon, "kvm: mmu: Rework the x86 TDP direct mapped case", RFC, 2019, cover letter',
  describe: (scale) =>
    `demand paging by userfaultfd, 416 vCPUs on ultramem-416, disjoint, ${
      scale === 'full' ? '4G each' : '512K each beyond the first 256K'
    }; rmap-based MMU under the spinlock against the TDP MMU (5.15) under the rwlock; nothing is fitted to these figures, remoteNs is scaled as eager-split found it`,
  async run(laboratory, scale) {
    const [few, many] = SIZES[scale];
    const [shadowMany, tdpMany, shadowFew, tdpFew] = await Promise.all(
      [task('shadow', many), task('tdp', many), task('shadow', few), task('tdp', few)].map((one) => laboratory.run(one)),
    );
    const shadow = marginal(shadowFew, shadowMany);
    const tdp = marginal(tdpFew, tdpMany);
    const rmapShare = 100 * (RMAP_HEAD_BYTES / PAGE_BYTES + RMAP_HEAD_BYTES / (512 * PAGE_BYTES));
    const figures: Figure[] = [
      {
        name: 'time waiting for the MMU lock, rmap MMU under the spinlock',
        unit: '%',
        published: 98,
        simulated: 100 * shadow.mmuLock,
        kind: 'predicted',
      },
      {
        name: 'total time saved by faults in parallel',
        unit: '%',
        published: 89,
        simulated: 100 * (1 - tdp.ns / shadow.ns),
        kind: 'predicted',
        why: 'all readers of the rwlock update one line, which bounds faults in parallel here; the published machine came further, to where get_user_pages and userfaultfd dominate',
      },
      { name: 'guest memory saved by having no rmap', unit: '%', published: 0.2, simulated: rmapShare, kind: 'predicted' },
      {
        name: 'TDP MMU: get_user_pages and userfaultfd ("dominated by")',
        unit: '%',
        published: null,
        simulated: 100 * tdp.hostFault,
        kind: 'unpublished',
      },
      {
        name: 'TDP MMU: waiting for cache lines, mmu_lock above all',
        unit: '%',
        published: null,
        simulated: 100 * tdp.mmuLine,
        kind: 'unpublished',
      },
    ];
    return figures;
  },
};
