/**
 * Passing runs of empty entries (B. Kauer and S. Christopherson, October 2024): steps of zapping the roots of a tiny guest.
 */
import { skylake2s96 } from '../engines/virtual/profiles/index.ts';
import { IterMode } from '../mmu/params.ts';
import { zapHelloGuest } from '../workloads/hello-guest.ts';
import type { Figure, Paper } from './figure.ts';

const steps = (mode: IterMode): number => zapHelloGuest(mode).reduce((sum, walk) => sum + walk.steps, 0);

export const fastForward: Paper = {
  name: 'fast-forward',
  title: 'Fast-forwarding the iterator when zapping',
  source: 'B. Kauer, "Fast forward the iterator when zapping the TDP MMU", and the answers, October 2024',
  describe: () => 'the hello guest of the thread; the step of about 13 ns is the price that every profile of the server has',
  async run() {
    const plain = steps(IterMode.plain);
    const skipping = steps(IterMode.skip32);
    const present = steps(IterMode.onlyPresent);
    // The step with its loads: the SPTE, and mmu_lock in the test for yielding.
    const stepNs = skylake2s96.costs.iterStep + 2 * skylake2s96.access.hitNs;
    const figures: Figure[] = [
      { name: 'steps of a plain walk', unit: 'steps', published: 9216, simulated: plain, kind: 'predicted' },
      { name: 'steps that pass up to 32 empty entries', unit: 'steps', published: 303, simulated: skipping, kind: 'predicted' },
      { name: 'a step', unit: 'ns', published: 13, simulated: stepNs, kind: 'fitted' },
      {
        name: 'time saved',
        unit: 'us',
        published: 115,
        simulated: ((plain - skipping) * stepNs) / 1000,
        kind: 'predicted',
      },
      {
        name: 'steps of a walk over present entries only',
        unit: 'steps',
        published: null,
        simulated: present,
        kind: 'unpublished',
      },
    ];
    return figures;
  },
};
