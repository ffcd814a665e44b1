/**
 * One simulation as plain data in and plain data out, so that it can run in a worker: the workload is looked up by name there.
 */
import type { MachineProfile } from '../engines/virtual/profile.ts';
import { PROFILES } from '../engines/virtual/profiles/index.ts';
import { runVirtual } from '../engines/virtual/run-virtual.ts';
import type { PinOrder } from '../engines/virtual/topology.ts';
import type { VirtualDetail } from '../engines/virtual/virtual-result.ts';
import type { VirtualProgress } from '../engines/virtual/virtual-run.ts';
import { checkVm } from '../oracles/index.ts';
import type { RunOutcome } from '../report/outcome.ts';
import type { VmConfig } from '../vm/vm-config.ts';
import { findWorkload } from '../workloads/index.ts';
import { Control } from '../workloads/programs/control.ts';
import { runProgram } from '../workloads/programs/index.ts';
import type { RunSettings } from '../workloads/run-settings.ts';
import type { WorkloadOptions, WorkloadPlan } from '../workloads/workload.ts';
import { fitted } from './fitted-plan.ts';

export interface SimulationTask {
  readonly workload: string;
  readonly options: WorkloadOptions;
  readonly settings: RunSettings;
  readonly operand?: string;
  readonly profile: MachineProfile;
  readonly pinOrder?: PinOrder;
  /** Record locks, latencies and stretches. */
  readonly measure?: boolean;
  /** Look at the whole state at the end; left out for guests of more tables than {@link CHECKED_TABLES_MAX}. */
  readonly check?: boolean;
  /** What differs from the VM that the workload plans. */
  readonly vm?: Partial<VmConfig>;
  /** Memory of the guest is supplied by a userfaultfd handler. */
  readonly userfaultfd?: boolean;
}

/** An outcome without what does not cross into another thread. */
export interface SimulationOutcome extends Omit<RunOutcome, 'workload'> {
  readonly workload: string;
  readonly virtual: VirtualDetail;
  /** Seconds of real time. */
  readonly realSeconds: number;
}

/** The whole state is looked at where it has at most so many page-table pages: it takes real time. */
const CHECKED_TABLES_MAX = 4096;

/** The plan of a task: what the workload plans, with the task's changes. */
function adjusted(plan: WorkloadPlan, task: SimulationTask): WorkloadPlan {
  const memory = (plan.vm.memory ?? []).map((region) =>
    task.userfaultfd === true && region.name === 'test' ? { ...region, userfaultfd: true } : region,
  );
  return { ...plan, vm: { ...plan.vm, memory, ...task.vm } };
}

/** Runs a task. Errors: UsageError for one that needs more than there is. */
export async function simulate(
  task: SimulationTask,
  onProgress: ((progress: VirtualProgress) => void) | null = null,
  signal: AbortSignal | null = null,
): Promise<SimulationOutcome> {
  const began = performance.now();
  const { settings } = task;
  const prepared = await findWorkload(task.workload).plan(task.options, settings, task.operand);
  const { plan, notes } = fitted(adjusted(prepared.plan, task));
  const result = await runVirtual(
    plan,
    runProgram,
    {
      controlWords: plan.controlWords,
      *setUp(vm, at) {
        prepared.prepare?.(new Control(vm.memory, at), vm.memory);
      },
    },
    {
      profile: task.profile,
      pinOrder: task.pinOrder ?? 'cores',
      measure: task.measure ?? true,
      durationMs: settings.durationMs,
      signal,
      onProgress,
    },
  );
  const { vm, memory: _, control: __, virtual, measurement, ...rest } = result;
  const small = measurement.pages.allocated <= CHECKED_TABLES_MAX;
  const examinations = task.check === true && result.complete && small ? [{ at: 'end', reports: checkVm(vm, {}) }] : [];
  return {
    workload: task.workload,
    plan,
    notes: [...prepared.notes, ...notes],
    recorded: prepared.recorded,
    result: rest,
    measurement,
    timeOver: settings.durationMs > 0 && result.elapsedNs >= settings.durationMs * 1e6,
    examinations,
    skippedCheckpoints: 0,
    virtual,
    realSeconds: (performance.now() - began) / 1000,
  };
}

/** The profile that runs on as many vCPUs as asked for best: the smallest built-in one with a CPU for each, or the largest. */
export function profileFor(vcpus: number): MachineProfile {
  const bySize = Object.values(PROFILES).sort((a, b) => cpusOf(a) - cpusOf(b));
  return bySize.find((profile) => cpusOf(profile) >= vcpus) ?? bySize[bySize.length - 1];
}

export const cpusOf = ({ topology }: MachineProfile): number =>
  topology.sockets * topology.coresPerSocket * topology.threadsPerCore;

/** Guest accesses that a workload will make, where its options tell; null where they do not. */
export function expectedAccesses(plan: { workload: string; options: WorkloadOptions }): number | null {
  const { vcpus, bytesPerVcpu, iterations = 0, overlap, stride } = plan.options as Record<string, number | boolean>;
  if (plan.workload !== 'demand-paging' && plan.workload !== 'dirty-log') return null;
  const pages =
    Math.ceil((bytesPerVcpu as number) / ((stride as number | undefined) ?? 4096)) *
    (vcpus as number) *
    (overlap === true ? (vcpus as number) : 1);
  return pages * (plan.workload === 'dirty-log' ? 1 + (iterations as number) : 1);
}
