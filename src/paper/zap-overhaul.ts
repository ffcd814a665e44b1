/**
 * The overhaul of zapping (S. Christopherson and P. Bonzini, v4, March 2022): what zapping the roots of a guest on 4K pages
 * does to everybody else, by the kernel's way of doing it, and by each choice alone in an otherwise equal kernel.
 *
 * The guest has one 4K page mapped in each 2M: a table costs a zap what its 512 entries cost, full or not, and of tables there
 * are as many as in a full guest of this size. Several GiB are needed to tell a pass that takes a 1G entry at a time, of 512
 * tables, from one that takes an entry of the root: 262,144 tables in a guest of terabytes, however many there are here.
 */
import { KERNELS, type KernelBehaviours, type KernelName } from '../mmu/generation.ts';
import type { SimulationOutcome, SimulationTask } from '../simulate/simulation.ts';
import { type Figure, type Paper, type Scale, scaled } from './figure.ts';
import { EAGER_SPLIT_FIT, fittedSkylake } from './fitted-profiles.ts';
import { phaseNs, taskFor } from './tasks.ts';

const VCPUS = 4;
const MIB = 2 ** 20;
const TABLE_BYTES = 2 * MIB;
/** Tables below one entry of a root of four levels. */
const ROOT_ENTRY_TABLES = 2 ** 18;

/** Of each vCPU: 256G in all at most. */
const bytesAt = (scale: Scale): number => scaled(scale, 1024 * MIB, 65_536 * MIB);

interface Way {
  readonly text: string;
  readonly kernel: KernelName;
  readonly behaviours?: KernelBehaviours;
}

const passesOf = (passes: readonly (number | 'root')[]): string =>
  passes.map((level) => (level === 'root' ? 'root' : ['', '4K', '2M', '1G'][level])).join(', ');

/** Kernels as released, then 6.12 with one choice made otherwise. */
const WAYS: readonly Way[] = [
  ...(['5.15', '5.18', '6.12'] as const).map((kernel): Way => {
    const { rootZapPasses, rootZapBy, rootZapFlushes } = KERNELS[kernel];
    const flush = rootZapFlushes ? 'flush immediate' : 'flush deferred';
    return { kernel, text: `${kernel} (passes ${passesOf(rootZapPasses)}; by the ${rootZapBy}; ${flush})` };
  }),
  { kernel: '6.12', text: '6.12, but one pass', behaviours: { rootZapPasses: ['root'] } },
  { kernel: '6.12', text: '6.12, but two passes', behaviours: { rootZapPasses: [3, 'root'] } },
  { kernel: '6.12', text: '6.12, but by a worker', behaviours: { rootZapBy: 'worker' } },
  { kernel: '6.12', text: '6.12, but flush immediate', behaviours: { rootZapFlushes: true } },
];

/** One zap of all roots; the vCPUs fault in what they have before it, and again while it goes on. */
export function zapTask({ kernel, behaviours }: Omit<Way, 'text'>, bytesPerVcpu: number): SimulationTask {
  return taskFor({
    workload: 'zap-roots',
    profile: fittedSkylake(EAGER_SPLIT_FIT),
    options: {
      vcpus: String(VCPUS),
      bytesPerVcpu: String(bytesPerVcpu),
      stride: String(TABLE_BYTES),
      iterations: '1',
      // Some 6 us a fault, of which the host's is a part.
      delay: String(Math.ceil((6 * bytesPerVcpu) / TABLE_BYTES)),
    },
    settings: { kernel },
    behaviours,
  });
}

export const zapOverhaul: Paper = {
  name: 'zap-overhaul',
  title: 'Overhaul of zapping in the TDP MMU',
  source: 'S. Christopherson and P. Bonzini, "KVM: x86/mmu: Overhaul TDP MMU zapping and flushing", v4 (figures in words only)',
  describe: (scale) =>
    `zap-roots, ${VCPUS} vCPUs on skylake-2s-96, ${bytesAt(scale) / 1024 / MIB}G each with a 4K page in each 2M, one zap while the vCPUs fault; no numbers published`,
  async run(laboratory, scale) {
    const outcomes = await Promise.all(WAYS.map((way) => laboratory.run(zapTask(way, bytesAt(scale)))));
    return outcomes.flatMap((outcome, i) => figuresOf(WAYS[i], outcome, bytesAt(scale)));
  },
};

function figuresOf({ text, kernel, behaviours }: Way, outcome: SimulationOutcome, bytesPerVcpu: number): Figure[] {
  const { measurement, virtual, result } = outcome;
  const row = (name: string, unit: Figure['unit'], simulated: number): Figure => ({
    name: `${text}: ${name}${result.complete ? '' : ` (incomplete: ${result.reason.slice(0, 60)})`}`,
    unit,
    published: null,
    simulated,
    kind: 'unpublished',
  });
  const rcuUs = (virtual.rcu?.ns ?? 0) / 1000;
  const { rootZapPasses } = { ...KERNELS[kernel], ...behaviours };
  const tables = (VCPUS * bytesPerVcpu) / TABLE_BYTES;
  return [
    row('remote TLB flushes', 'flushes', measurement.flushes.requested),
    row('longest RCU read-side section', 'us', rcuUs),
    ...(rootZapPasses.length > 1
      ? []
      : [row('the same in a guest of terabytes, by its number of tables', 'us', (rcuUs * ROOT_ENTRY_TABLES) / tables)]),
    row('longest stall of a vCPU', 'us', (virtual.vcpuStall?.ns ?? 0) / 1000),
    row(`longest stretch without scheduling (${virtual.stall.thread})`, 'us', virtual.stall.ns / 1000),
    row('the zap', 'us', phaseNs(outcome, 'zap') / 1000),
  ];
}
