/**
 * Passing runs of empty entries (B. Kauer and S. Christopherson, October 2024): steps of zapping the roots of a tiny guest, and
 * of large ones whose tables are nearly empty.
 */
import { skylake2s96 } from '../engines/virtual/profiles/index.ts';
import { IterMode } from '../mmu/params.ts';
import { type SparseGuest, type ZapWalk, zapHelloGuest, zapSparseGuest } from '../workloads/hello-guest.ts';
import { formatSize, PAGE_BYTES } from '../workloads/size.ts';
import { type Figure, type Paper, type Scale, scaled } from './figure.ts';

const PAGES_PER_GIB = 2 ** 18;

/** Large guests with a page here and there: GiB at the default scale and at most, and pages from one to the next. */
const SHAPES: readonly { readonly gib: readonly [number, number]; readonly apart: string; readonly pagesApart: number }[] = [
  { gib: [256, 4096], apart: '1G', pagesApart: PAGES_PER_GIB },
  { gib: [16, 1024], apart: '64M', pagesApart: PAGES_PER_GIB / 16 },
  { gib: [0.5, 64], apart: '2M', pagesApart: 512 },
];

function shapesAt(scale: Scale): readonly { readonly text: string; readonly guest: SparseGuest }[] {
  return SHAPES.map(({ gib: [standard, full], apart, pagesApart }) => {
    const pages = scaled(scale, standard, full) * PAGES_PER_GIB;
    return { text: `${formatSize(pages * PAGE_BYTES)}, a page in each ${apart}`, guest: { pages, pagesApart } };
  });
}

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
      ...shapesAt(scale).flatMap(({ text, guest }) => {
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
