/**
 * Every workload on every modelled kernel, with the processors, locks and MMUs that there are, under delays at random: which
 * combinations there are, and what one of them comes to.
 */
import { runWorkload } from '../../src/cli/run-workload.ts';
import { type Verdict, verdictOf } from '../../src/report/verdict.ts';
import { findWorkload } from '../../src/workloads/index.ts';
import { parseOptions } from '../../src/workloads/option.ts';
import { RUN_OPTIONS, runSettings } from '../../src/workloads/run-settings.ts';

/** Small options of each workload: a run of it takes a second or two beside the start of its threads. */
const SMALL: Readonly<Record<string, Readonly<Record<string, string | boolean>>>> = {
  'dirty-log': { vcpus: '2', bytesPerVcpu: '4M', iterations: '2', backing: 'anonymous_thp', live: true },
  'demand-paging': { vcpus: '2', bytesPerVcpu: '4M' },
  'memslot-modification': { vcpus: '2', bytesPerVcpu: '2M', iterations: '5' },
  'notifier-storm': { vcpus: '2', bytesPerVcpu: '4M', iterations: '20', hosts: '2', range: '256K' },
  'zap-roots': { vcpus: '2', bytesPerVcpu: '2M', iterations: '10' },
  'nx-recovery': { vcpus: '2', bytesPerVcpu: '4M', iterations: '10' },
  collapse: { vcpus: '2', bytesPerVcpu: '4M', iterations: '3' },
  aging: { vcpus: '2', bytesPerVcpu: '1M', iterations: '10', range: '256K' },
  'max-guest-memory': { vcpus: '2', size: '1G', slots: '4' },
  trace: {},
};

const TRACE = 'test/data/traces/demand_4k_v4_overlap.trace.txt.gz';

export interface Combination {
  readonly workload: string;
  /** Values of the options of all workloads. */
  readonly settings: Readonly<Record<string, string>>;
}

const LOCKS: readonly Readonly<Record<string, string>>[] = [{ lock: 'rwlock' }, { lock: 'spinlock' }, { mmu: 'shadow' }];
const CPUS = ['npt', 'ept'] as const;
const PERTURBATIONS = ['0.001', '0.01'] as const;

/** All combinations: the recorded operations of `trace` are those of the TDP MMU. */
export function combinations(): Combination[] {
  const kernels = RUN_OPTIONS.flatMap((option) => (option.key === 'kernel' && option.kind === 'choice' ? option.choices : []));
  return Object.keys(SMALL).flatMap((workload) =>
    kernels.flatMap((kernel) =>
      LOCKS.flatMap((lock) =>
        CPUS.flatMap((cpu) => PERTURBATIONS.map((perturb) => ({ workload, settings: { kernel, ...lock, cpu, perturb } }))),
      ),
    ),
  );
}

/** One combination of each workload and kernel, in which all locks, processors and perturbations take turns. */
export function sample(all: readonly Combination[] = combinations()): Combination[] {
  const each = LOCKS.length * CPUS.length * PERTURBATIONS.length;
  // 5 has no factor in common with the 12 of each group.
  return Array.from({ length: all.length / each }, (_, group) => all[group * each + ((group * 5) % each)]);
}

export const nameOf = ({ workload, settings }: Combination): string =>
  [workload, ...Object.entries(settings).map(([key, value]) => `--${key} ${value}`)].join(' ');

/** Runs it on threads. */
export async function verdictFor({ workload: name, settings }: Combination): Promise<Verdict> {
  const workload = findWorkload(name);
  const common = runSettings(settings, []);
  const options = parseOptions(workload.options, SMALL[name]);
  const prepared = await workload.plan(options, common, name === 'trace' ? TRACE : undefined);
  const surroundings = { progress: () => {}, signal: new AbortController().signal };
  return verdictOf(await runWorkload({ workload, prepared, common, surroundings }));
}
