/**
 * Runs a prepared workload on real threads, with the oracles at checkpoints and at the end.
 */
import type { ThreadsResult } from '../engines/threads/result.ts';
import { runThreads, THREADS_MAX } from '../engines/threads/run-threads.ts';
import type { SpteHistory } from '../engines/threads/spte-history.ts';
import { allCounters } from '../machine/counters.ts';
import type { Task } from '../machine/point.ts';
import { checkVm } from '../oracles/index.ts';
import type { OracleReport } from '../oracles/oracle.ts';
import type { StateOptions } from '../oracles/quiescent-state.ts';
import type { Examination, RunOutcome } from '../report/outcome.ts';
import type { Vm } from '../vm/vm.ts';
import { MAX_VCPUS } from '../workloads/memstress-plan.ts';
import { checkPlanSize } from '../workloads/plan-size.ts';
import { Control } from '../workloads/programs/control.ts';
import { SentPages, sentVersion } from '../workloads/programs/vmm.ts';
import type { RunSettings } from '../workloads/run-settings.ts';
import { UsageError } from '../workloads/usage-error.ts';
import type { PreparedPlan, Workload } from '../workloads/workload.ts';
import type { Surroundings } from './command.ts';

export interface RunRequest {
  readonly workload: Workload;
  readonly prepared: PreparedPlan;
  readonly common: Pick<RunSettings, 'perturb' | 'durationMs'>;
  readonly surroundings: Pick<Surroundings, 'progress' | 'signal'>;
  /** Shown before the progress. */
  readonly title?: string;
}

/** Examinations that take longer than this are left to the end of the run. */
const CHECKPOINT_MS_MAX = 3000;
/** Nobody gets on while the state is examined. */
const WATCHDOG_MS = 30_000;

/** Errors: UsageError for a plan that needs more than there is. */
export async function runWorkload(request: RunRequest): Promise<RunOutcome> {
  const { workload, prepared, common, surroundings, title = workload.name } = request;
  const { plan, notes } = prepared;
  checkSize(prepared);
  const examiner = new Examiner();
  const result = await runThreads(
    plan,
    {
      controlWords: plan.controlWords,
      setUp: (vm, at) => setUp(prepared, vm, at),
      tick: (vm, at, history) => examiner.tick(vm, new Control(vm.memory, at), history),
    },
    {
      perturb: common.perturb,
      durationMs: common.durationMs,
      signal: surroundings.signal,
      // At recorded pace nothing may happen for as long as the recording says.
      watchdogMs: plan.options.pace === true ? 0 : WATCHDOG_MS,
      onProgress: ({ elapsedMs, running, work }) =>
        surroundings.progress(
          `${title}: ${(elapsedMs / 1000).toFixed(0)} s, ${running} threads at work, ${Math.round(work)} steps done`,
        ),
    },
  );
  surroundings.progress('');
  const { measurement } = result;
  if (result.complete && !examiner.foundAny) {
    surroundings.progress(`${title}: looking at the whole state`);
    const sent = sentOf(prepared, result.vm, new Control(result.memory, result.control));
    const { history } = result;
    examiner.examine('end', result.vm, { counter: counterOf(measurement.counters), sent, history, ...holdings(result) });
    surroundings.progress('');
  }
  const timeOver = common.durationMs > 0 && result.elapsedNs >= common.durationMs * 1e6;
  const { examinations, skipped } = examiner;
  const { recorded } = prepared;
  return { workload, plan, notes, recorded, result, measurement, timeOver, examinations, skippedCheckpoints: skipped };
}

function* setUp({ prepare }: PreparedPlan, vm: Vm, at: Control['base']): Task<void> {
  const control = new Control(vm.memory, at);
  prepare?.(control, vm.memory);
  yield* control.expectExaminer();
}

/** `others`: threads beside the vCPUs. */
export function tooManyThreads(vcpus: string, others = 0): UsageError {
  const beside = others > 0 ? `, ${others} of them beside the vCPUs` : ', those beside the vCPUs among them';
  return new UsageError(
    `-v ${vcpus}: stress has at most ${THREADS_MAX} real threads${beside}; simulate has up to ${MAX_VCPUS} vCPUs`,
  );
}

function checkSize({ plan }: PreparedPlan): void {
  const threads = plan.threads.length;
  const vcpus = plan.vm.vcpus ?? 0;
  if (threads > THREADS_MAX) {
    throw tooManyThreads(String(vcpus), threads - vcpus);
  }
  checkPlanSize(plan);
}

/** What the VMM has sent of each page, where the workload's does. */
function sentOf({ sentAt }: PreparedPlan, vm: Vm, control: Control): StateOptions['sent'] {
  if (sentAt === undefined) return undefined;
  const sent = new SentPages(control, vm, sentAt);
  return (slot, gfn) => sentVersion(vm, sent, slot, gfn);
}

/** What vCPUs hold, for the oracles that look for lost pages and references. */
function holdings({ vcpus }: ThreadsResult): Pick<StateOptions, 'cachedPages' | 'vcpuRoots'> {
  const roots = new Map(vcpus.map((vcpu) => [vcpu.id, vcpu.roots]));
  const vcpuRoots = (vcpu: number) => roots.get(vcpu);
  const cachedPages = vcpus.flatMap((vcpu) => vcpu.cachedPages);
  return { vcpuRoots, cachedPages };
}

/** Sums of counters by index, from those by name. */
function counterOf(counters: Readonly<Record<string, number>>): (index: number) => number {
  const names = new Map(allCounters().map(({ index, name }) => [index, name]));
  return (index) => counters[names.get(index) ?? ''] ?? 0;
}

/** Runs all oracles when the workload comes to a checkpoint, and at the end. */
class Examiner {
  readonly examinations: Examination[] = [];
  skipped = 0;
  foundAny = false;
  #tooSlow = false;

  *tick(vm: Vm, control: Control, history: SpteHistory): Task<void> {
    const checkpoint = yield* control.checkpointWaiting();
    if (checkpoint === 0) return;
    if (this.#tooSlow) this.skipped++;
    else this.examine(`checkpoint ${checkpoint}`, vm, { history });
    if (this.foundAny) yield* control.stop();
    yield* control.examined(checkpoint);
  }

  examine(at: string, vm: Vm, options: StateOptions): void {
    const began = performance.now();
    const reports: OracleReport[] = checkVm(vm, options);
    this.#tooSlow = performance.now() - began > CHECKPOINT_MS_MAX;
    this.examinations.push({ at, reports });
    if (reports.some(({ total }) => total > 0)) this.foundAny = true;
  }
}
