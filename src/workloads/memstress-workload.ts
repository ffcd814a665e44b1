/**
 * Workloads in which the vCPUs work on the memory of the selftests' memstress guests and other threads disturb them: the
 * options, the plan and the notes that all of them have.
 */
import {
  backingOption,
  bytesOption,
  crew,
  delayOption,
  iterationsOption,
  memstressNotes,
  memstressPlan,
  overlapOption,
  vcpusOption,
} from './memstress-plan.ts';
import { type ChoiceOption, numberOf, type OptionTable } from './option.ts';
import type { BackingName } from './programs/memstress-layout.ts';
import type { Workload, WorkloadOptions, WorkloadPlan } from './workload.ts';

/** What one such workload adds. */
export interface Disturbance extends Pick<Workload, 'name' | 'summary' | 'selftest' | 'lines'> {
  /** Memory of each vCPU, in bytes, where it is not the selftests' 1G. */
  readonly bytesPerVcpu?: number;
  readonly backing?: BackingName;
  readonly iterations: { readonly default: number; readonly help: string };
  readonly delay?: { readonly default?: number; readonly help?: string };
  /** Its options beside the common ones. */
  readonly options: OptionTable;
  readonly programs: { readonly vcpu: string; readonly ioctl: string; readonly host?: string };
  /** How many generations of page tables may exist at a time. */
  readonly copies?: number;
  /** Whether the host drops or moves pages, which then come back in other frames. */
  readonly moves?: boolean;
  /** Threads of the host. */
  hosts?(options: WorkloadOptions): number;
  params?(options: WorkloadOptions): WorkloadPlan['params'];
  /** What the programs are told beside the options. */
  derived?(options: WorkloadOptions): WorkloadOptions;
  notes?(options: WorkloadOptions): readonly string[];
  /** Errors: UsageError for options that do not fit together. */
  check?(options: WorkloadOptions): void;
}

export function memstressWorkload(disturbance: Disturbance): Workload {
  const { name, summary, selftest, lines, programs, iterations, copies, moves } = disturbance;
  return {
    name,
    summary,
    selftest,
    lines,
    options: [
      vcpusOption(),
      bytesOption(disturbance.bytesPerVcpu),
      iterationsOption(iterations.default, iterations.help),
      { ...(backingOption as ChoiceOption), default: disturbance.backing ?? 'anonymous' },
      overlapOption,
      { ...delayOption, ...disturbance.delay },
      ...disturbance.options,
    ],
    async plan(options, common) {
      disturbance.check?.(options);
      const plan = memstressPlan({
        workload: name,
        options: { ...options, ...disturbance.derived?.(options) },
        common,
        threads: crew(numberOf(options, 'vcpus'), programs, disturbance.hosts?.(options)),
        params: disturbance.params?.(options),
        copies,
        moves,
      });
      return { plan, notes: [...memstressNotes(plan), ...(disturbance.notes?.(options) ?? [])] };
    },
  };
}
