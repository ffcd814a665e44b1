/**
 * The overhaul of zapping (S. Christopherson and P. Bonzini, v4, March 2022): what zapping the roots of a guest on 4K pages
 * does to everybody else, by the kernel's way of doing it.
 */
import { skylake2s96 } from '../engines/virtual/profiles/index.ts';
import type { KernelName } from '../mmu/generation.ts';
import type { SimulationOutcome } from '../simulate/simulation.ts';
import type { Figure, Paper, Scale } from './figure.ts';
import { taskFor } from './tasks.ts';

const VCPUS = 16;
const ROOTS = 2;
const SIZES: Readonly<Record<Scale, string>> = { default: '32M', full: '16G' };

/** Kernels by how they zap an invalidated root. */
const WAYS: readonly { kernel: KernelName; text: string }[] = [
  { kernel: '5.15', text: '5.15: range by range, by the caller' },
  { kernel: '6.1', text: '6.1: two passes, by a worker' },
  { kernel: '6.12', text: '6.12: small pieces first, by the caller' },
];

export const zapOverhaul: Paper = {
  name: 'zap-overhaul',
  title: 'Overhaul of zapping in the TDP MMU',
  source: 'S. Christopherson and P. Bonzini, "KVM: x86/mmu: Overhaul TDP MMU zapping and flushing", v4 (figures in words only)',
  describe: (scale) =>
    `zap-roots, ${VCPUS} vCPUs on skylake-2s-96, ${SIZES[scale]} each on 4K pages, ${ROOTS} zaps while the vCPUs fault; no numbers published`,
  async run(laboratory, scale) {
    const outcomes = await Promise.all(
      WAYS.map(({ kernel }) =>
        laboratory.run(
          taskFor({
            workload: 'zap-roots',
            profile: skylake2s96,
            options: { vcpus: String(VCPUS), bytesPerVcpu: SIZES[scale], iterations: String(ROOTS), delay: '20000' },
            settings: { kernel },
          }),
        ),
      ),
    );
    return outcomes.flatMap((outcome, i) => figuresOf(WAYS[i].text, outcome));
  },
};

function figuresOf(text: string, { measurement, virtual, result }: SimulationOutcome): Figure[] {
  const row = (name: string, unit: Figure['unit'], simulated: number): Figure => ({
    name: `${text}: ${name}${result.complete ? '' : ` (incomplete: ${result.reason.slice(0, 60)})`}`,
    unit,
    published: null,
    simulated,
    kind: 'unpublished',
  });
  return [
    row('remote TLB flushes', 'flushes', measurement.flushes.requested),
    row('longest RCU read-side section', 'us', (virtual.rcu?.ns ?? 0) / 1000),
    row('longest fault of a vCPU', 'us', measurement.faults.latency.maxNs / 1000),
    row('longest stretch without scheduling', 'us', virtual.stall.ns / 1000),
  ];
}
