/**
 * The direct MMU (B. Gardon, RFC of September 2019), which became the TDP MMU: demand paging by userfaultfd on 416 vCPUs.
 *
 * What makes the rmap-based MMU hold its spinlock for long in so large a guest is the search for a shadowed page of each
 * gfn (`shadow/need-write-protect.ts`): it passes all pages of a bucket of the hash. A guest scaled down keeps buckets as long
 * as they are on average while the large one is faulted in.
 */

import { HASH_BUCKETS, RMAP_HEAD_BYTES } from '../shadow/shadow-layout.ts';
import type { SimulationOutcome, SimulationTask } from '../simulate/simulation.ts';
import { type Figure, type Paper, type Scale, scaled } from './figure.ts';
import { EAGER_SPLIT_FIT, fittedUltramem } from './fitted-profiles.ts';
import { phaseNs, taskFor } from './tasks.ts';

const VCPUS = 416;
const PAGE_BYTES = 4096;
const MIB = 2 ** 20;
/** Guest memory that a page-table page maps. */
const TABLE_BYTES = 2 * MIB;
const PUBLISHED_BYTES = 4096 * MIB;

/** Guest memory of each vCPU: whole tables, so that every vCPU has its own, as in the large guest. */
const bytesAt = (scale: Scale): number => scaled(scale, TABLE_BYTES, PUBLISHED_BYTES);

/**
 * Buckets of the page hash. The tables of the large guest come one after the other, so that buckets are half as long on average
 * as in the end; those of a guest of few tables are all there from the first faults on.
 */
export function hashBuckets(bytesPerVcpu: number): number {
  if (bytesPerVcpu >= PUBLISHED_BYTES) return HASH_BUCKETS;
  return Math.max(1, (2 * HASH_BUCKETS * bytesPerVcpu) / PUBLISHED_BYTES);
}

/** Pages of a bucket on average, over a run. */
export const bucketPages = (bytesPerVcpu: number): number =>
  (VCPUS * bytesPerVcpu) / TABLE_BYTES / hashBuckets(bytesPerVcpu) / (bytesPerVcpu >= PUBLISHED_BYTES ? 2 : 1);

export function directMmuTask(mmu: 'shadow' | 'tdp', bytesPerVcpu: number): SimulationTask {
  return {
    ...taskFor({
      workload: 'demand-paging',
      profile: fittedUltramem(EAGER_SPLIT_FIT),
      options: { vcpus: String(VCPUS), bytesPerVcpu: String(bytesPerVcpu) },
      settings: { lock: mmu === 'shadow' ? 'spinlock' : 'rwlock', kernel: '5.15', cpu: 'ept' },
    }),
    vm: { mmu, mmuPageHashBuckets: hashBuckets(bytesPerVcpu) },
    userfaultfd: true,
    measure: false,
  };
}

/** A share of the vCPUs' time, in percent. */
const share = ({ virtual }: SimulationOutcome, ns: number): number => (100 * ns) / virtual.vcpus.busyNs;

/** Time that the lines of the VMM's mm_struct took to move, in nanoseconds. */
const mmLinesNs = ({ virtual }: SimulationOutcome): number =>
  virtual.hotLines.reduce((sum, { label, stallNs }) => sum + (label === 'mm_struct' ? stallNs : 0), 0);

/** get_user_pages and userfaultfd: their work, and the lines that they wait for. */
const hostFaultNs = (outcome: SimulationOutcome): number => outcome.virtual.vcpus.groups.hostFault + mmLinesNs(outcome);

export const directMmu: Paper = {
  name: 'direct-mmu',
  title: 'A direct MMU without reverse maps, with faults in parallel',
  source: 'B. Gardon, "kvm: mmu: Rework the x86 TDP direct mapped case", RFC, 2019, cover letter',
  describe: (scale) =>
    `demand paging by userfaultfd, ${VCPUS} vCPUs on ultramem-416, disjoint, ${bytesAt(scale) / MIB}M each; rmap-based MMU under the spinlock, ${Math.round(bucketPages(bytesAt(scale)))} pages a bucket of its hash on average (as at 4G each), against the TDP MMU (5.15) under the rwlock; nothing is fitted to these figures, remoteNs is scaled as eager-split found it`,
  async run(laboratory, scale) {
    const [shadow, tdp] = await Promise.all(
      (['shadow', 'tdp'] as const).map((mmu) => laboratory.run(directMmuTask(mmu, bytesAt(scale)))),
    );
    const rmapShare = 100 * (RMAP_HEAD_BYTES / PAGE_BYTES + RMAP_HEAD_BYTES / (512 * PAGE_BYTES));
    const figures: Figure[] = [
      {
        name: 'time waiting for the MMU lock, rmap MMU under the spinlock',
        unit: '%',
        published: 98,
        simulated: share(shadow, shadow.virtual.vcpus.groups.mmuLock),
        kind: 'predicted',
      },
      {
        name: 'total time saved by faults in parallel',
        unit: '%',
        published: 89,
        simulated: 100 * (1 - phaseNs(tdp, 'execution') / phaseNs(shadow, 'execution')),
        kind: 'predicted',
      },
      { name: 'guest memory saved by having no rmap', unit: '%', published: 0.2, simulated: rmapShare, kind: 'predicted' },
      {
        name: 'TDP MMU: get_user_pages and userfaultfd ("dominated by")',
        unit: '%',
        published: null,
        simulated: share(tdp, hostFaultNs(tdp)),
        kind: 'unpublished',
      },
      {
        name: 'TDP MMU: waiting for other cache lines, mmu_lock above all',
        unit: '%',
        published: null,
        simulated: share(tdp, tdp.virtual.vcpus.groups.cacheLine - mmLinesNs(tdp)),
        kind: 'unpublished',
      },
    ];
    return figures;
  },
};
