/**
 * The overhaul of zapping (S. Christopherson and P. Bonzini, v4, March 2022): what zapping the roots of a guest on 4K pages
 * does to everybody else, by the kernel's way of doing it.
 */
import { skylake2s96 } from '../engines/virtual/profiles/index.ts';
import { KERNELS, type KernelName } from '../mmu/generation.ts';
import type { SimulationOutcome } from '../simulate/simulation.ts';
import type { Figure, Paper, Scale } from './figure.ts';
import { taskFor } from './tasks.ts';

const VCPUS = 4;
const ROOTS = 2;
const SIZES: Readonly<Record<Scale, string>> = { default: '2M', full: '16G' };

/** Microseconds from one zap to the next: about what the vCPUs take to fault everything in again. */
const DELAYS_US: Readonly<Record<Scale, string>> = { default: '1500', full: '14000000' };

/** Kernels by how they zap an invalidated root. */
const WAYS: readonly { kernel: KernelName; text: string }[] = (['5.15', '6.1', '6.12'] as const).map((kernel) => {
  const passes = KERNELS[kernel].rootZapPasses.map((level) => (level === 'root' ? 'root' : `${level}`));
  return { kernel, text: `${kernel} (passes: ${passes.join(', ') || 'as a range'})` };
});

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
            options: { vcpus: String(VCPUS), bytesPerVcpu: SIZES[scale], iterations: String(ROOTS), delay: DELAYS_US[scale] },
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
