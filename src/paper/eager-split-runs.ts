/**
 * The runs behind the figures of `eager-split.ts`, full size or scaled down, and the seconds that they give.
 *
 * Scaled down, a vCPU has one 2M page in place of a 1G page, and times grow with the number of pages. What depends on the size
 * of the page, or not on the number of vCPUs at all, is measured by one vCPU on 1G pages: the first CLEAR, which finds huge
 * pages, and how much longer enabling takes for each GiB. And where writes take no lock, a round of 2M is over so soon that waking 96
 * vCPUs one by one is a third of it: there the time is what a round of twice the size takes longer.
 */
import type { MachineProfile } from '../engines/virtual/profile.ts';
import type { SimulationOutcome, SimulationTask } from '../simulate/simulation.ts';
import { type Laboratory, type Scale, scaled } from './figure.ts';
import { phaseNs, taskFor } from './tasks.ts';

const VCPUS = 96;
const FULL_PAGES = 2 ** 18;
/** Of the default scale: one 2M page a vCPU. */
const SCALED_PAGES = 512;

/** Whether vCPUs have the 1G page each of the published guest. */
export const isFull = (scale: Scale): boolean => scaled(scale, SCALED_PAGES, FULL_PAGES) === FULL_PAGES;

interface RunInput {
  readonly split: 'Y' | 'N';
  /** KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2: 1, or 3 with INITIALLY_SET. */
  readonly manualProtect: 1 | 3;
  readonly iterations: number;
  readonly vcpus: number;
  readonly bytes: string;
  readonly pages: '1gb' | '2mb';
}

/** dirty_log_perf_test on `profile`. */
function dirtyLog(profile: MachineProfile, { split, manualProtect, iterations, vcpus, bytes, pages }: RunInput): SimulationTask {
  return {
    ...taskFor({
      workload: 'dirty-log',
      profile,
      options: {
        vcpus: String(vcpus),
        bytesPerVcpu: bytes,
        backing: `anonymous_hugetlb_${pages}`,
        iterations: String(iterations),
      },
      settings: { cpu: 'ept', kernel: '5.18' },
      sets: [`eager_page_split=${split}`, `manual_protect=${manualProtect}`],
    }),
    measure: false,
  };
}

/** Seconds of the runs with KVM_DIRTY_LOG_INITIALLY_SET, eager splitting off or on. */
export interface InitiallySetSeconds {
  readonly off: { readonly clear1: number; readonly dirty2: number; readonly clear3: number };
  readonly on: { readonly clear1: number; readonly dirty2: number; readonly clear3: number };
}

/** Seconds of the runs without it. */
export interface PlainSeconds {
  readonly off: { readonly enable: number; readonly dirty1: number };
  readonly on: { readonly enable: number; readonly dirty1: number };
}

type Run = (input: Partial<RunInput> & Pick<RunInput, 'split' | 'manualProtect'>) => Promise<SimulationOutcome>;

/** Runs of all vCPUs at a scale, and by how much their seconds grow to the published size. */
function crew(laboratory: Laboratory, profile: MachineProfile, scale: Scale) {
  const each = scaled(scale, SCALED_PAGES, FULL_PAGES);
  const larger = isFull(scale) ? null : ({ bytes: `${(2 * each) / 256}M`, pages: '2mb' } as const);
  const size = isFull(scale) ? ({ bytes: '1G', pages: '1gb' } as const) : ({ bytes: `${each / 256}M`, pages: '2mb' } as const);
  const run: Run = (input) => laboratory.run(dirtyLog(profile, { iterations: 1, vcpus: VCPUS, ...size, ...input }));
  /** The same with twice the memory, or null at full size. */
  const runLarger = (input: Parameters<Run>[0]): Promise<SimulationOutcome> | null =>
    larger === null ? null : run({ ...input, ...larger });
  return { run, runLarger, factor: FULL_PAGES / each / 1e9 };
}

/** Runs of one vCPU on 1G pages. */
function single(laboratory: Laboratory, profile: MachineProfile): Run {
  return (input) => laboratory.run(dirtyLog(profile, { iterations: 1, vcpus: 1, bytes: '1G', pages: '1gb', ...input }));
}

/** What the `i`-th time of a phase grew by where the memory was doubled, or all of it. */
function marginalNs(small: SimulationOutcome, larger: SimulationOutcome | null, phase: string, i: number): number {
  return larger === null ? phaseNs(small, phase, i) : phaseNs(larger, phase, i) - phaseNs(small, phase, i);
}

export async function initiallySetSeconds(
  laboratory: Laboratory,
  profile: MachineProfile,
  scale: Scale,
): Promise<InitiallySetSeconds> {
  const { run, runLarger, factor } = crew(laboratory, profile, scale);
  const one = single(laboratory, profile);
  const full = isFull(scale);
  const [off, on, onLarger, clearOff, clearOn] = await Promise.all([
    run({ split: 'N', manualProtect: 3, iterations: 3 }),
    run({ split: 'Y', manualProtect: 3, iterations: 3 }),
    runLarger({ split: 'Y', manualProtect: 3, iterations: 2 }),
    full ? null : one({ split: 'N', manualProtect: 3 }),
    full ? null : one({ split: 'Y', manualProtect: 3 }),
  ]);
  const seconds = (all: SimulationOutcome, larger: SimulationOutcome | null, first: SimulationOutcome | null) => ({
    clear1: first === null ? phaseNs(all, 'clear', 0) / 1e9 : (VCPUS * phaseNs(first, 'clear', 0)) / 1e9,
    dirty2: factor * marginalNs(all, larger, 'dirty', 1),
    clear3: factor * phaseNs(all, 'clear', 2),
  });
  return { off: seconds(off, null, clearOff), on: seconds(on, onLarger, clearOn) };
}

export async function plainSeconds(laboratory: Laboratory, profile: MachineProfile, scale: Scale): Promise<PlainSeconds> {
  const { run, runLarger, factor } = crew(laboratory, profile, scale);
  const one = single(laboratory, profile);
  const full = isFull(scale);
  const [off, on, onLarger, small, large] = await Promise.all([
    run({ split: 'N', manualProtect: 1 }),
    run({ split: 'Y', manualProtect: 1 }),
    runLarger({ split: 'Y', manualProtect: 1 }),
    // Logging begins alike with INITIALLY_SET, as far as it grows with the size; and the guest's writes then take no fault.
    full ? null : one({ split: 'N', manualProtect: 3 }),
    full ? null : one({ split: 'N', manualProtect: 3, bytes: '2G' }),
  ]);
  let enableOff = phaseNs(off, 'enable') / 1e9;
  if (small !== null && large !== null) enableOff += (VCPUS * (phaseNs(large, 'enable') - phaseNs(small, 'enable'))) / 1e9;
  return {
    off: { enable: enableOff, dirty1: factor * phaseNs(off, 'dirty', 0) },
    on: { enable: factor * phaseNs(on, 'enable'), dirty1: factor * marginalNs(on, onLarger, 'dirty', 0) },
  };
}
