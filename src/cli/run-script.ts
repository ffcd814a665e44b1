/**
 * Running a scenario for the command line, whichever engine takes its steps: what happened phase by phase, and the verdict.
 */
import { ExitCode } from '../engines/threads/result.ts';
import { THREADS_MAX } from '../engines/threads/run-threads.ts';
import { InvariantError } from '../machine/invariant.ts';
import { roundRobin, seededPick } from '../machine/run.ts';
import type { Kvm } from '../mmu/kvm.ts';
import { checkVm, STATE_ORACLES } from '../oracles/index.ts';
import type { StateOptions } from '../oracles/quiescent-state.ts';
import { statisticsOracle } from '../oracles/statistics.ts';
import type { PhaseRecord } from '../script/record/event.ts';
import { type EngineScriptRun, runOnThreads, runOnVirtualClock } from '../script/run-on-engine.ts';
import { RUN_DEFAULTS, type RunOptions, ScriptRunner } from '../script/run-script.ts';
import { IOCTL_THREAD, type Script } from '../script/script.ts';
import { ExpectationError } from '../script/script-error.ts';
import { profileFor } from '../simulate/simulation.ts';
import type { Vm } from '../vm/vm.ts';
import { UsageError } from '../workloads/usage-error.ts';

export const ENGINES = ['schedule', 'threads', 'virtual'] as const;
export type EngineName = (typeof ENGINES)[number];

/** Who decides whose step is next, where threads run side by side and the engine is `schedule`. */
export const SCHEDULES = ['random', 'round-robin'] as const;
export type ScheduleName = (typeof SCHEDULES)[number];

export interface ScriptRequest extends Pick<RunOptions, 'kernel' | 'iter' | 'flushOnEntry' | 'seed'> {
  readonly engine: EngineName;
  readonly schedule: ScheduleName;
  /** How likely a delay is before each shared access of a worker thread. */
  readonly perturb: number;
  readonly signal: AbortSignal;
}

export interface ScriptVerdict {
  readonly kind: 'PASS' | 'FAIL' | 'INCOMPLETE';
  readonly text: string;
  readonly exitCode: number;
}

export interface ScriptOutcome {
  readonly kvm: Kvm;
  /** Those that came to their end; on engines whose threads run by themselves also what is known of one that did not. */
  readonly phases: readonly PhaseRecord[];
  readonly verdict: ScriptVerdict;
}

/** Rules whose violation means that nobody gets on. */
const NO_PROGRESS: readonly string[] = ['deadlock', 'no-progress'];

/** Runs `script`. Errors: UsageError for what the engine cannot run. */
export async function runScriptFile(script: Script, request: ScriptRequest): Promise<ScriptOutcome> {
  if (request.engine === 'schedule') return runScheduled(script, request);
  return concludeEngineRun(
    script,
    request.engine === 'threads' ? await onThreads(script, request) : await onVirtualClock(script, request),
  );
}

function runScheduled(script: Script, request: ScriptRequest): ScriptOutcome {
  const { kernel, iter, flushOnEntry, seed, schedule } = request;
  const pick = () => (schedule === 'round-robin' ? roundRobin() : seededPick(seed));
  const runner = new ScriptRunner(script, { ...RUN_DEFAULTS, kernel, iter, flushOnEntry, scheduleFor: () => ({ pick: pick() }) });
  const { vm } = runner.machine.thread(IOCTL_THREAD);
  const phases: PhaseRecord[] = [];
  const outcome = (verdict: ScriptVerdict): ScriptOutcome => ({ kvm: vm.kvm, phases, verdict });
  try {
    for (const [n, phase] of script.phases.entries()) phases.push(runner.runPhase(phase, n));
  } catch (error) {
    if (error instanceof ExpectationError) return outcome(failed(error.message));
    if (!(error instanceof InvariantError)) throw error;
    const exitCode = NO_PROGRESS.includes(error.rule) ? ExitCode.stalled : ExitCode.broken;
    return outcome({ ...failed(`${error.rule}: ${error.message}`), exitCode });
  }
  const { vcpus } = runner.machine;
  return outcome(
    examine(script, vm, {
      vcpuRoots: (id) => [vcpus[id].mmu.root, ...vcpus[id].mmu.prevRoots].filter((root) => root !== 0),
      cachedPages: vcpus.flatMap(({ mmu }) => mmu.pageCache.pages),
    }),
  );
}

async function onThreads(script: Script, request: ScriptRequest): Promise<EngineScriptRun> {
  const { perturb, signal } = request;
  try {
    return await runOnThreads(script, request, { perturb, signal });
  } catch (error) {
    throw error instanceof RangeError ? new UsageError(`${script.file}: ${error.message}`) : error;
  }
}

async function onVirtualClock(script: Script, request: ScriptRequest): Promise<EngineScriptRun> {
  try {
    return await runOnVirtualClock(script, request, { profile: profileFor(THREADS_MAX), signal: request.signal });
  } catch (error) {
    throw error instanceof RangeError ? new UsageError(`${script.file}: ${error.message}`) : error;
  }
}

function concludeEngineRun(script: Script, { phases, failure, result, vcpus }: EngineScriptRun): ScriptOutcome {
  const { vm, complete, exitCode, reason } = result;
  const verdict = (): ScriptVerdict => {
    if (failure !== null) return failed(failure.message);
    if (exitCode === ExitCode.interrupted) return { kind: 'INCOMPLETE', text: reason, exitCode };
    if (!complete) return { kind: 'FAIL', text: reason, exitCode };
    const roots = new Map(vcpus.map((vcpu) => [vcpu.id, vcpu.roots]));
    const cachedPages = vcpus.flatMap((vcpu) => vcpu.cachedPages);
    return examine(script, vm, { vcpuRoots: (id) => roots.get(id) ?? [], cachedPages });
  };
  return { kvm: vm.kvm, phases, verdict: verdict() };
}

const failed = (text: string): ScriptVerdict => ({ kind: 'FAIL', text, exitCode: ExitCode.broken });

/** What the oracles say of the state that the script has left. */
function examine(script: Script, vm: Vm, options: StateOptions): ScriptVerdict {
  // The statistics of a VM that was closed have gone with it.
  const closed = script.phases.some(({ operations }) => operations.some(({ op }) => op === 'destroy'));
  const reports = checkVm(vm, options, closed ? STATE_ORACLES.filter((oracle) => oracle !== statisticsOracle) : STATE_ORACLES);
  const [first] = reports.flatMap(({ violations }) => violations);
  if (first === undefined) {
    return { kind: 'PASS', text: `${reports.length} oracles found nothing wrong at the end`, exitCode: ExitCode.held };
  }
  const total = reports.reduce((sum, report) => sum + report.total, 0);
  return failed(`${first.oracle}: ${first.rule}: ${first.message}${total > 1 ? ` (and ${total - 1} more)` : ''}`);
}
