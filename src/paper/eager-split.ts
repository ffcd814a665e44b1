/**
 * Eager page splitting (D. Matlack, v2, January 2022): dirty_log_perf_test with and without it.
 */
import type { MachineProfile } from '../engines/virtual/profile.ts';
import type { SimulationOutcome, SimulationTask } from '../simulate/simulation.ts';
import type { Figure, FigureKind, Paper, Scale } from './figure.ts';
import { EAGER_SPLIT_FIT, fittedSkylake } from './fitted-profiles.ts';
import { phaseNs, taskFor } from './tasks.ts';

const VCPUS = 96;
const FULL_PAGES = 2 ** 18;
/** Of the default scale: one 2M page a vCPU. */
const SCALED_PAGES = 512;

/** Seconds that the cover letter gives, by run: eager splitting off or on, with KVM_DIRTY_LOG_INITIALLY_SET or without. */
export const PUBLISHED = {
  initiallySet: {
    off: { clear1: 0.049, dirty2: 2.751, clear3: 1.375 },
    on: { clear1: 1.668, dirty2: 0.127, clear3: 1.422 },
  },
  plain: { off: { enable: 0.0017, dirty1: 2.944 }, on: { enable: 1.547, dirty1: 0.146 } },
} as const;

export interface EagerSplitRuns<T> {
  readonly setOff: T;
  readonly setOn: T;
  readonly plainOff: T;
  readonly plainOn: T;
}

export function eagerSplitTasks(profile: MachineProfile, scale: Scale): EagerSplitRuns<SimulationTask> {
  const full = scale === 'full';
  const task = (split: 'Y' | 'N', manualProtect: number, iterations: number): SimulationTask => ({
    ...taskFor({
      workload: 'dirty-log',
      profile,
      options: {
        vcpus: String(VCPUS),
        bytesPerVcpu: full ? '1G' : '2M',
        backing: full ? 'anonymous_hugetlb_1gb' : 'anonymous_hugetlb_2mb',
        iterations: String(iterations),
      },
      settings: { cpu: 'ept', kernel: '5.18' },
      sets: [`eager_page_split=${split}`, `manual_protect=${manualProtect}`],
    }),
    measure: false,
  });
  return { setOff: task('N', 3, 3), setOn: task('Y', 3, 3), plainOff: task('N', 1, 1), plainOn: task('Y', 1, 1) };
}

/** The figures in seconds, scaled up to the published size by the number of pages. */
export function eagerSplitSeconds(runs: EagerSplitRuns<SimulationOutcome>, scale: Scale) {
  const factor = (scale === 'full' ? 1 : FULL_PAGES / SCALED_PAGES) / 1e9;
  const { setOff, setOn, plainOff, plainOn } = runs;
  return {
    clear1Off: factor * phaseNs(setOff, 'clear', 0),
    clear1On: factor * phaseNs(setOn, 'clear', 0),
    dirty2Off: factor * phaseNs(setOff, 'dirty', 1),
    dirty2On: factor * phaseNs(setOn, 'dirty', 1),
    clear3Off: factor * phaseNs(setOff, 'clear', 2),
    clear3On: factor * phaseNs(setOn, 'clear', 2),
    // One huge page a vCPU at either scale.
    enableOff: phaseNs(plainOff, 'enable') / 1e9,
    enableOn: factor * phaseNs(plainOn, 'enable'),
    dirty1Off: factor * phaseNs(plainOff, 'dirty', 0),
    dirty1On: factor * phaseNs(plainOn, 'dirty', 0),
  };
}

export const eagerSplit: Paper = {
  name: 'eager-split',
  title: 'Eager page splitting',
  source: 'D. Matlack, "KVM: x86/mmu: Eager Page Splitting for the TDP MMU", v2, cover letter',
  describe: (scale) =>
    `dirty_log_perf_test, 96 vCPUs on skylake-2s-96, kernel 5.18, EPT with PML; ${
      scale === 'full' ? '1G each on 1G pages' : '2M each on 2M pages, times scaled by the number of pages'
    }; fitted: walkLevel, splitEntry, spteChange, remoteNs, one figure each`,
  async run(laboratory, scale) {
    const tasks = eagerSplitTasks(fittedSkylake(EAGER_SPLIT_FIT), scale);
    const [setOff, plainOff, setOn, plainOn] = await Promise.all(
      [tasks.setOff, tasks.plainOff, tasks.setOn, tasks.plainOn].map((task) => laboratory.run(task)),
    );
    const s = eagerSplitSeconds({ setOff, setOn, plainOff, plainOn }, scale);
    const { initiallySet: set, plain } = PUBLISHED;
    const row = (name: string, published: number, simulated: number, kind: FigureKind, why?: string): Figure => ({
      name,
      unit: 's',
      published,
      simulated,
      kind,
      why,
    });
    return [
      row('INITIALLY_SET: iteration 1 clear, before', set.off.clear1, s.clear1Off, 'predicted', WHY.clear1),
      row('INITIALLY_SET: iteration 1 clear, after', set.on.clear1, s.clear1On, 'predicted', WHY.split),
      row('INITIALLY_SET: iteration 2 dirty memory, before', set.off.dirty2, s.dirty2Off, 'fitted'),
      row('INITIALLY_SET: iteration 2 dirty memory, after', set.on.dirty2, s.dirty2On, 'fitted'),
      row('INITIALLY_SET: iteration 3 clear, before', set.off.clear3, s.clear3Off, 'fitted'),
      row('INITIALLY_SET: iteration 3 clear, after', set.on.clear3, s.clear3On, 'predicted'),
      row('enabling dirty logging, before', plain.off.enable, s.enableOff, 'predicted', WHY.enable),
      row('enabling dirty logging, after', plain.on.enable, s.enableOn, 'fitted'),
      row('iteration 1 dirty memory, before', plain.off.dirty1, s.dirty1Off, 'predicted', WHY.dirty1),
      row('iteration 1 dirty memory, after', plain.on.dirty1, s.dirty1On, 'predicted', WHY.dirty1),
    ];
  },
};

const WHY = {
  clear1: 'the price of a word of the bitmap is an assumption, and a test of a huge page is repeated for each of its words',
  split: 'splitting under CLEAR takes mmu_lock and yields for each word of the bitmap',
  enable:
    'the kernel allocates and clears 6 MiB of dirty bitmaps here, and waits for SRCU among sleeping vCPUs; the model charges neither',
  dirty1: 'the two runs differ in the log only, which the model makes free where the bit is not set yet',
} as const;
