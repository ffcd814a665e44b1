/**
 * Eager page splitting (D. Matlack, v2, January 2022): dirty_log_perf_test with and without it.
 *
 * The prices are fitted to four figures of the runs with KVM_DIRTY_LOG_INITIALLY_SET; the runs without it are predicted, all
 * four of their figures.
 */
import { initiallySetSeconds, isFull, plainSeconds } from './eager-split-runs.ts';
import type { Figure, FigureKind, Paper } from './figure.ts';
import { EAGER_SPLIT_FIT, fittedSkylake } from './fitted-profiles.ts';

/** Seconds that the cover letter gives, by run: eager splitting off or on, with KVM_DIRTY_LOG_INITIALLY_SET or without. */
export const PUBLISHED = {
  initiallySet: {
    off: { clear1: 0.049, dirty2: 2.751, clear3: 1.375 },
    on: { clear1: 1.668, dirty2: 0.127, clear3: 1.422 },
  },
  plain: { off: { enable: 0.0017, dirty1: 2.944 }, on: { enable: 1.547, dirty1: 0.146 } },
} as const;

export const eagerSplit: Paper = {
  name: 'eager-split',
  title: 'Eager page splitting',
  source: 'D. Matlack, "KVM: x86/mmu: Eager Page Splitting for the TDP MMU", v2, cover letter',
  describe: (scale) =>
    `dirty_log_perf_test, 96 vCPUs on skylake-2s-96, kernel 5.18, EPT with PML; ${
      isFull(scale)
        ? '1G each on 1G pages'
        : `${2 * scale}M each on 2M pages, times scaled by the number of pages; first CLEAR: 1G pages`
    }; fitted: walkLevel, splitEntry, spteChange, remoteNs, one figure each`,
  async run(laboratory, scale) {
    const profile = fittedSkylake(EAGER_SPLIT_FIT);
    const [set, plain] = await Promise.all([
      initiallySetSeconds(laboratory, profile, scale),
      plainSeconds(laboratory, profile, scale),
    ]);
    const was = PUBLISHED;
    const row = (name: string, published: number, simulated: number, kind: FigureKind, why?: string): Figure => ({
      name,
      unit: 's',
      published,
      simulated,
      kind,
      why,
    });
    return [
      row('INITIALLY_SET: iteration 1 clear, before', was.initiallySet.off.clear1, set.off.clear1, 'predicted'),
      row('INITIALLY_SET: iteration 1 clear, after', was.initiallySet.on.clear1, set.on.clear1, 'fitted'),
      row('INITIALLY_SET: iteration 2 dirty memory, before', was.initiallySet.off.dirty2, set.off.dirty2, 'fitted'),
      row('INITIALLY_SET: iteration 2 dirty memory, after', was.initiallySet.on.dirty2, set.on.dirty2, 'fitted'),
      row('INITIALLY_SET: iteration 3 clear, before', was.initiallySet.off.clear3, set.off.clear3, 'fitted'),
      row('INITIALLY_SET: iteration 3 clear, after', was.initiallySet.on.clear3, set.on.clear3, 'predicted'),
      row('enabling dirty logging, before', was.plain.off.enable, plain.off.enable, 'predicted', WHY.enable),
      row('enabling dirty logging, after', was.plain.on.enable, plain.on.enable, 'predicted', WHY.enableOn),
      row('iteration 1 dirty memory, before', was.plain.off.dirty1, plain.off.dirty1, 'predicted'),
      row('iteration 1 dirty memory, after', was.plain.on.dirty1, plain.on.dirty1, 'predicted', WHY.dirty1),
    ];
  },
};

const WHY = {
  enable:
    'nearly all of it is the allocation of 6 MiB of dirty bitmaps, 1536 pages charged to a memory cgroup and cleared, for which no measured price is known',
  enableOn:
    'the model has it that clearing D by exchange under the read lock, page by page, is a little dearer than by words under the write lock; by the published figures it is cheaper, whatever splitting takes in both',
  dirty1:
    'nothing in the model makes the first iteration dearer than the second with INITIALLY_SET, to which walkLevel is fitted; the published ones differ by 15 %, and without eager splitting by 7 %',
} as const;
