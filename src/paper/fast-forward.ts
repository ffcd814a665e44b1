/**
 * Passing runs of empty entries (B. Kauer and S. Christopherson, October 2024): steps of zapping the roots of a tiny guest, and
 * of large ones whose tables are nearly empty.
 */
import { skylake2s96 } from '../engines/virtual/profiles/index.ts';
import { IterMode } from '../mmu/params.ts';
import { type SparseGuest, type ZapWalk, zapHelloGuest, zapSparseGuest } from '../workloads/hello-guest.ts';
import type { Figure, Paper, Scale } from './figure.ts';

const PAGES_PER_GIB = 2 ** 18;

/** Large guests with a page here and there. */
const SHAPES: Readonly<Record<Scale, readonly { readonly text: string; readonly guest: SparseGuest }[]>> = {
  default: [
    { text: '256G, a page in each 1G', guest: { pages: 256 * PAGES_PER_GIB, pagesApart: PAGES_PER_GIB } },
    { text: '16G, a page in each 64M', guest: { pages: 16 * PAGES_PER_GIB, pagesApart: PAGES_PER_GIB / 16 } },
    { text: '512M, a page in each 2M', guest: { pages: PAGES_PER_GIB / 2, pagesApart: 512 } },
  ],
  full: [
    { text: '4T, a page in each 1G', guest: { pages: 4096 * PAGES_PER_GIB, pagesApart: PAGES_PER_GIB } },
    { text: '1T, a page in each 64M', guest: { pages: 1024 * PAGES_PER_GIB, pagesApart: PAGES_PER_GIB / 16 } },
    { text: '64G, a page in each 2M', guest: { pages: 64 * PAGES_PER_GIB, pagesApart: 512 } },
  ],
};

const sum = (walks: readonly ZapWalk[]): number => walks.reduce((all, walk) => all + walk.steps, 0);

export const fastForward: Paper = {
  name: 'fast-forward',
  title: 'Fast-forwarding the iterator when zapping',
  source: 'B. Kauer, "Fast forward the iterator when zapping the TDP MMU", and the answers, October 2024',
  describe: () =>
    'the hello guest of the thread, and guests of one 4K page here and there; the step of about 13 ns is the price that every profile of the server has',
  async run(_laboratory, scale) {
    // The step with its loads: the SPTE, and mmu_lock in the test for yielding.
    const stepNs = skylake2s96.costs.iterStep + 2 * skylake2s96.access.hitNs;
    const steps = (mode: IterMode): number => sum(zapHelloGuest(mode));
    const plain = steps(IterMode.plain);
    const skipping = steps(IterMode.skip32);
    const row = (name: string, unit: Figure['unit'], simulated: number): Figure => ({
      name,
      unit,
      published: null,
      simulated,
      kind: 'unpublished',
    });
    return [
      { name: 'steps of a plain walk', unit: 'steps', published: 9216, simulated: plain, kind: 'predicted' },
      { name: 'steps that pass up to 32 empty entries', unit: 'steps', published: 303, simulated: skipping, kind: 'predicted' },
      { name: 'a step', unit: 'ns', published: 13, simulated: stepNs, kind: 'fitted' },
      { name: 'time saved', unit: 'us', published: 115, simulated: ((plain - skipping) * stepNs) / 1000, kind: 'predicted' },
      row('steps of a walk over present entries only', 'steps', steps(IterMode.onlyPresent)),
      ...SHAPES[scale].flatMap(({ text, guest }) => {
        const [all, passing, present] = [IterMode.plain, IterMode.skip32, IterMode.onlyPresent].map((mode) =>
          sum(zapSparseGuest(guest, mode)),
        );
        return [
          row(`${text}: plain`, 'steps', all),
          row(`${text}: passing up to 32`, 'steps', passing),
          row(`${text}: present entries only`, 'steps', present),
          row(`${text}: time saved by passing up to 32`, 'us', ((all - passing) * stepNs) / 1000),
        ];
      }),
    ];
  },
};
