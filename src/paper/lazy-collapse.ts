/**
 * Lazy collapsing (W. Li, 2015): a guest on huge pages before, during and after dirty logging: without a collapse, as it was until
 * then; with tables that are zapped, so that faults bring huge pages back, as it was until 6.12; and with tables replaced in
 * place.
 */
import type { KernelBehaviours } from '../mmu/generation.ts';
import type { SimulationOutcome } from '../simulate/simulation.ts';
import { VCPU_AREA_DEFAULTS } from '../vm/vcpu-layout.ts';
import { type Figure, type Paper, type Scale, scaled } from './figure.ts';
import { EAGER_SPLIT_FIT, fittedSkylake } from './fitted-profiles.ts';
import { phaseNs, taskFor } from './tasks.ts';

const VCPUS = 2;
/** More than the TLB reaches by 4K pages, less than by 2M pages. */
const MIB = 2 ** 20;
const mibAt = (scale: Scale): number => scaled(scale, 32, 1024);
/** Milliseconds until the faults that follow logging are over. */
const settleAt = (scale: Scale): number => scaled(scale, 10, 320);
const PAGE_BYTES = 4096;

const WAYS: readonly { readonly text: string; readonly recoverHugePages: KernelBehaviours['recoverHugePages'] }[] = [
  { text: 'without collapse', recoverHugePages: 'never' },
  { text: 'with collapse by zapping', recoverHugePages: 'zap' },
  { text: 'with collapse in place', recoverHugePages: 'in-place' },
];

export const lazyCollapse: Paper = {
  name: 'lazy-collapse',
  title: 'Collapsing small pages when logging ends',
  source: 'W. Li, "KVM: mmu: lazy collapse small sptes into large sptes", 2015 (figures in words only)',
  describe: (scale) =>
    `${VCPUS} vCPUs on skylake-2s-96 write ${mibAt(scale)}M each at random during a live migration that is given up; ${VCPU_AREA_DEFAULTS.tlbEntries} TLB entries; settled: once the faults that follow the end of logging are over`,
  async run(laboratory, scale) {
    const outcomes = await Promise.all(
      WAYS.map(({ recoverHugePages }) =>
        laboratory.run(
          taskFor({
            workload: 'live-migration',
            profile: fittedSkylake(EAGER_SPLIT_FIT),
            options: {
              vcpus: String(VCPUS),
              bytesPerVcpu: `${mibAt(scale)}M`,
              backing: 'anonymous_thp',
              pattern: 'uniform',
              dirtyRate: '4G',
              bandwidth: '8G',
              rounds: '2',
              settle: String(settleAt(scale)),
            },
            settings: { cpu: 'ept' },
            behaviours: { recoverHugePages },
          }),
        ),
      ),
    );
    const write = (name: string, outcome: SimulationOutcome, phase: string): Figure =>
      row(`a write of the guest ${name}`, 'ns', meanNs(outcome, `guest write ${phase}`));
    const reach = (name: string, outcome: SimulationOutcome | null): Figure => {
      const { pages_2m = 0, pages_4k = 0 } = outcome?.measurement.kvmStat ?? { pages_4k: 1 };
      return row(
        `TLB reach ${name}`,
        'MiB',
        (VCPU_AREA_DEFAULTS.tlbEntries * (pages_2m > pages_4k ? 512 : 1) * PAGE_BYTES) / MIB,
      );
    };
    return [
      write('before logging', outcomes[0], 'before'),
      write('during', outcomes[0], 'pre-copy'),
      ...WAYS.flatMap(({ text }, i) => [
        write(`after it, ${text}, at first`, outcomes[i], 'after'),
        write(`after it, ${text}, settled`, outcomes[i], 'settled'),
      ]),
      row('TLB reach before logging', 'MiB', (VCPU_AREA_DEFAULTS.tlbEntries * 512 * PAGE_BYTES) / MIB),
      reach('during', null),
      ...WAYS.map(({ text }, i) => reach(`after it, ${text}`, outcomes[i])),
      ...WAYS.map(({ text }, i) => row(`time to disable logging, ${text}`, 'us', phaseNs(outcomes[i], 'disable') / 1000)),
    ];
  },
};

const row = (name: string, unit: Figure['unit'], simulated: number): Figure => ({
  name,
  unit,
  published: null,
  simulated,
  kind: 'unpublished',
});

function meanNs({ measurement, result }: SimulationOutcome, phase: string): number {
  const times = measurement.phases.find(({ name }) => name === phase)?.ns ?? [];
  if (times.length === 0) throw new Error(`the simulation has no ${phase}: ${result.reason}`);
  return times.reduce((sum, ns) => sum + ns, 0) / times.length;
}
