/**
 * Lazy collapsing (W. Li, 2015): a guest on huge pages before, during and after dirty logging, with the collapse that brings
 * huge pages back, and as it was before there was one.
 */
import { skylake2s96 } from '../engines/virtual/profiles/index.ts';
import type { SimulationOutcome } from '../simulate/simulation.ts';
import { VCPU_AREA_DEFAULTS } from '../vm/vcpu-layout.ts';
import type { Figure, Paper, Scale } from './figure.ts';
import { phaseNs, taskFor } from './tasks.ts';

const VCPUS = 2;
const SIZES: Readonly<Record<Scale, string>> = { default: '8M', full: '4G' };
const MIB = 2 ** 20;
const PAGE_BYTES = 4096;

export const lazyCollapse: Paper = {
  name: 'lazy-collapse',
  title: 'Collapsing small pages when logging ends',
  source: 'W. Li, "KVM: mmu: lazy collapse small sptes into large sptes", 2015 (figures in words only)',
  describe: (scale) =>
    `${VCPUS} vCPUs on skylake-2s-96 write ${SIZES[scale]} each at random during a live migration that is given up; ${VCPU_AREA_DEFAULTS.tlbEntries} TLB entries; "without" is a guest on 4K pages, as which logging left it`,
  async run(laboratory, scale) {
    const run = (backing: string): Promise<SimulationOutcome> =>
      laboratory.run(
        taskFor({
          workload: 'live-migration',
          profile: skylake2s96,
          options: {
            vcpus: String(VCPUS),
            bytesPerVcpu: SIZES[scale],
            backing,
            pattern: 'uniform',
            dirtyRate: '1G',
            bandwidth: '4G',
            rounds: '2',
            settle: '6',
          },
        }),
      );
    const [huge, small] = await Promise.all([run('anonymous_thp'), run('anonymous')]);
    const write = (name: string, outcome: SimulationOutcome, phase: string): Figure => ({
      name: `a write of the guest ${name}`,
      unit: 'ns',
      published: null,
      simulated: meanNs(outcome, `guest write ${phase}`),
      kind: 'unpublished',
    });
    const reach = (name: string, pageBytes: number): Figure => ({
      name: `TLB reach ${name}`,
      unit: 'MiB',
      published: null,
      simulated: (VCPU_AREA_DEFAULTS.tlbEntries * pageBytes) / MIB,
      kind: 'unpublished',
    });
    const { pages_2m = 0 } = huge.measurement.kvmStat;
    return [
      write('before logging', huge, 'before'),
      write('during', huge, 'pre-copy'),
      write('after it, without collapse', small, 'before'),
      write('after it, with collapse', huge, 'after'),
      reach('before logging', 512 * PAGE_BYTES),
      reach('during, and after it without collapse', PAGE_BYTES),
      reach('after it, with collapse', (pages_2m > 0 ? 512 : 1) * PAGE_BYTES),
      {
        name: 'time to disable logging, collapse included',
        unit: 'us',
        published: null,
        simulated: phaseNs(huge, 'disable') / 1000,
        kind: 'unpublished',
      },
    ];
  },
};

function meanNs({ measurement }: SimulationOutcome, phase: string): number {
  const times = measurement.phases.find(({ name }) => name === phase)?.ns ?? [];
  return times.reduce((sum, ns) => sum + ns, 0) / times.length;
}
