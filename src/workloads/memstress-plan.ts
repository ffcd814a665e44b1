/**
 * Plans of the workloads whose guests are the selftests' memstress guests: slot 0 for code, test memory at the top, one vCPU
 * thread each, and the main thread that issues ioctls.
 */
import { generationFor } from '../mmu/generation.ts';
import type { VmConfig } from '../vm/vm-config.ts';
import type { NumberOption, OptionSpec, SizeOption } from './option.ts';
import { CONTROL_WORDS } from './programs/control.ts';
import { BACKING_NAMES, BACKINGS, type BackingName, CODE_PAGES, memstressLayout } from './programs/memstress-layout.ts';
import type { RunSettings } from './run-settings.ts';
import { formatSize, PAGE_BYTES } from './size.ts';
import { UsageError } from './usage-error.ts';
import type { ThreadPlan, WorkloadOptions, WorkloadPlan } from './workload.ts';

/** KVM_MAX_VCPUS of the kernel's default configuration. */
export const MAX_VCPUS = 1024;

/** Guests up to this size have their contents tracked: it takes some bytes a page. */
export const TRACKED_PAGES_MAX = 2 ** 22;

/** Pages of a mapping are below this. */
const PAGES_MAX = 2 ** 32;

const GIB = 2 ** 30;

export const vcpusOption = (standard = 1): NumberOption => ({
  key: 'vcpus',
  letter: 'v',
  long: 'vcpus',
  kind: 'number',
  default: standard,
  min: 1,
  max: MAX_VCPUS,
  help: 'number of vCPUs',
});

export const bytesOption = (standard = GIB): SizeOption => ({
  key: 'bytesPerVcpu',
  letter: 'b',
  long: 'bytes',
  kind: 'size',
  default: standard,
  unit: PAGE_BYTES,
  help: 'memory of each vCPU, for example 12M or 1G',
});

export const backingOption: OptionSpec = {
  key: 'backing',
  letter: 's',
  long: 'backing',
  kind: 'choice',
  default: 'anonymous',
  choices: BACKING_NAMES,
  help: 'kind of memory behind the guest',
};

export const overlapOption: OptionSpec = {
  key: 'overlap',
  letter: 'o',
  long: 'overlap',
  kind: 'flag',
  help: 'all vCPUs use all memory, instead of a share each',
};

export const writePercentOption: NumberOption = {
  key: 'writePercent',
  letter: 'w',
  long: 'write-percent',
  kind: 'number',
  default: 100,
  min: 0,
  max: 100,
  help: 'percentage of pages that are written; the others are read',
};

export const randomAccessOption: OptionSpec = {
  key: 'randomAccess',
  letter: 'a',
  long: 'random-access',
  kind: 'flag',
  help: 'access random pages instead of all in order',
};

export const slotsOption: NumberOption = {
  key: 'slots',
  letter: 'x',
  long: 'slots',
  kind: 'number',
  default: 1,
  min: 1,
  max: 32_000,
  help: 'number of slots that the memory is split into',
};

export const iterationsOption = (standard: number, help: string): NumberOption => ({
  key: 'iterations',
  letter: 'i',
  long: 'iterations',
  kind: 'number',
  default: standard,
  min: 1,
  max: 1_000_000_000,
  help,
});

export const delayOption: NumberOption = {
  key: 'delay',
  letter: 'd',
  long: 'delay',
  kind: 'number',
  default: 0,
  min: 0,
  max: 60_000_000,
  help: 'microseconds between two of them',
};

export const hostsOption: NumberOption = {
  key: 'hosts',
  letter: 'n',
  long: 'hosts',
  kind: 'number',
  default: 1,
  min: 1,
  max: 64,
  help: 'number of host threads',
};

export const rangeOption: SizeOption = {
  key: 'range',
  letter: 'l',
  long: 'range',
  kind: 'size',
  default: 2 * 2 ** 20,
  unit: PAGE_BYTES,
  help: 'length of the range that an operation is about',
};

/** The value of {@link rangeOption} as programs want it. */
export const rangePages = (options: WorkloadOptions): WorkloadOptions => ({
  rangePages: (options.range as number) / PAGE_BYTES,
});

/** How often an operation is drawn among others: as its share is of the sum of all. */
export const shareOption = (key: string, help: string): NumberOption => ({
  key,
  long: key.replaceAll('_', '-'),
  kind: 'number',
  default: 1,
  min: 0,
  max: 1000,
  help,
});

/** Errors: UsageError where no operation may ever be drawn. */
export function checkShares(options: WorkloadOptions, keys: readonly string[]): void {
  if (keys.some((key) => options[key] !== 0)) return;
  const given = keys.map((key) => `--${shareOption(key, '').long} 0`).join(' ');
  throw new UsageError(`${given}: at least one of them must be more than 0`);
}

/** The thread that zaps roots, in the kernels that have one. */
const ZAP_WORKER: ThreadPlan = { role: 'zap', name: 'zap worker', program: 'zap-worker', index: 0, daemon: true };

/** vCPU threads, then the one that issues ioctls, then those of the host. */
export function crew(vcpus: number, programs: { vcpu: string; ioctl: string; host?: string }, hosts = 0): ThreadPlan[] {
  const thread = (role: ThreadPlan['role'], index: number, program: string): ThreadPlan => {
    const name = role === 'ioctl' ? 'ioctl' : `${role} ${index}`;
    return { role, name, program, index, daemon: false };
  };
  return [
    ...Array.from({ length: vcpus }, (_, i) => thread('vcpu', i, programs.vcpu)),
    thread('ioctl', 0, programs.ioctl),
    ...Array.from({ length: hosts }, (_, i) => thread('host', i, programs.host!)),
  ];
}

/**
 * Page-table pages for a guest of `pages` pages, all mapped by 4K: as often as `copies`, because removed tables wait for RCU,
 * and what each vCPU keeps in its cache.
 */
export function tablePagesFor(pages: number, vcpus: number, copies = 2): number {
  return Math.ceil(copies * (pages / 512 + pages / 512 ** 2)) + 64 * vcpus + 256;
}

export interface MemstressPlanInput {
  readonly workload: string;
  readonly options: WorkloadOptions;
  readonly common: RunSettings;
  readonly threads: readonly ThreadPlan[];
  readonly params?: WorkloadPlan['params'];
  /** How many generations of page tables may exist at a time. */
  readonly copies?: number;
  /** Whether the host drops or moves pages, which then come back in other frames. */
  readonly moves?: boolean;
}

/** Errors: UsageError for memory that cannot be had. */
export function memstressPlan(input: MemstressPlanInput): WorkloadPlan {
  const { workload, options, common, threads, copies = 2 } = input;
  const layout = memstressLayout(options);
  const vcpus = options.vcpus as number;
  const { type } = BACKINGS[options.backing as BackingName];
  if (layout.pages % layout.slots !== 0) {
    throw new UsageError(
      `-x ${layout.slots}: ${formatSize(layout.pages * PAGE_BYTES)} cannot be cut into so many slots of equal size`,
    );
  }
  if (layout.pages >= PAGES_MAX) {
    throw new UsageError(
      `-v ${vcpus} -b ${formatSize(options.bytesPerVcpu as number)}: a guest has less than ${formatSize(PAGES_MAX * PAGE_BYTES)} of memory`,
    );
  }
  const trackContents = layout.pages <= TRACKED_PAGES_MAX;
  const vm: Partial<VmConfig> = {
    vcpus,
    maxGfn: layout.maxGfn,
    tablePages: tablePagesFor(layout.pages + CODE_PAGES, vcpus, copies),
    memory: [
      { name: 'code', type: '4k', pages: CODE_PAGES },
      { name: 'test', type, pages: layout.pages },
    ],
    maxMemslots: layout.slots + 16,
    frameGenerations: input.moves === true ? 4 : 2,
    trackContents,
  };
  return completePlan({
    workload,
    options: { ...options, trackContents },
    common,
    vm,
    params: input.params,
    threads,
    controlWords: CONTROL_WORDS + (trackContents ? layout.pages + CODE_PAGES : 0),
  });
}

export interface PlanInput extends Pick<WorkloadPlan, 'workload' | 'options' | 'threads' | 'controlWords' | 'vm'> {
  readonly common: RunSettings;
  readonly params?: WorkloadPlan['params'];
}

/** The plan with what all workloads have in common, and with the thread that zaps roots in the kernels that have one. */
export function completePlan({ common, params, threads, vm, ...plan }: PlanInput): WorkloadPlan {
  const zapWorker = generationFor(common.vm.kernel, common.vm.behaviours).rootZapBy === 'worker' && common.vm.mmu !== 'shadow';
  return {
    ...plan,
    seed: common.seed,
    vm: { ...common.vm, zapWorker, ...vm },
    params: { ...params, ...common.params },
    threads: zapWorker ? [...threads, ZAP_WORKER] : threads,
  };
}

/** Notes that every memstress workload prints first, as the selftests do. */
export function memstressNotes(plan: WorkloadPlan): string[] {
  const { baseGfn, pages } = memstressLayout(plan.options);
  const hex = (gfn: number): string => `0x${(gfn * PAGE_BYTES).toString(16)}`;
  return [
    'Testing guest mode: PA-bits:ANY, VA-bits:48,  4K pages',
    `guest physical test memory: [${hex(baseGfn)}, ${hex(baseGfn + pages)})`,
    ...(plan.vm.trackContents
      ? []
      : ['contents of guest pages are not tracked: the guest is too big for that; lost dirty pages go unnoticed']),
  ];
}
