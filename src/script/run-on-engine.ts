/** Runs a script on real threads, or on the virtual clock. */
import type { EngineHooks } from '../engines/plan.ts';
import type { ThreadsResult } from '../engines/threads/result.ts';
import { runThreads, type ThreadsOptions } from '../engines/threads/run-threads.ts';
import type { MachineProfile } from '../engines/virtual/profile.ts';
import { runVirtual } from '../engines/virtual/run-virtual.ts';
import type { VirtualResult } from '../engines/virtual/virtual-result.ts';
import type { Task } from '../machine/point.ts';
import { Control } from '../workloads/programs/control.ts';
import { runProgram } from '../workloads/programs/index.ts';
import type { ScriptReport } from '../workloads/programs/script-thread.ts';
import { ScriptCollector } from './collector.ts';
import { vmOf } from './machine.ts';
import { type ScriptPlan, type ScriptPlanOptions, scriptPlan } from './plan.ts';
import type { PhaseRecord } from './record/event.ts';
import type { Script } from './script.ts';
import type { ExpectationError } from './script-error.ts';

/** What both engines tell of a run. */
export type EngineResult = Pick<
  ThreadsResult | VirtualResult,
  'complete' | 'reason' | 'exitCode' | 'failures' | 'stall' | 'vm' | 'elapsedNs'
>;

export interface EngineScriptRun {
  /** Phases that came to their end, and what is known of one that did not. */
  readonly phases: readonly PhaseRecord[];
  readonly failure: ExpectationError | null;
  readonly result: EngineResult;
  /** What vCPUs held at their end, where the run is complete. */
  readonly vcpus: ThreadsResult['vcpus'];
}

/** Runs `script` on worker threads. Errors: ScriptError for a VM that cannot be made; RangeError for too many threads. */
export async function runOnThreads(
  script: Script,
  options: ScriptPlanOptions,
  engine: Partial<ThreadsOptions> = {},
): Promise<EngineScriptRun> {
  const planned = scriptPlan(script, options);
  const collector = collectorOf(script, planned);
  let seen = 0;
  const hooks: EngineHooks = {
    controlWords: planned.controlWords,
    *setUp(vm, at): Task<void> {
      yield* new Control(vm.memory, at).expectExaminer();
    },
    counters: (counters) => collector.counters(counters),
    report: (_threadId, report) => collector.report(report as ScriptReport),
    *tick(vm, at): Task<void> {
      const control = new Control(vm.memory, at);
      const waiting = yield* control.checkpointWaiting();
      // What was reported before the pause is heard by the next tick, whatever was in between.
      const heard = waiting === seen;
      seen = waiting;
      if (waiting === 0 || !heard) return;
      if (!collector.paused(vm)) yield* control.stop();
      yield* control.examined(waiting);
    },
  };
  const result = await runThreads(planned.plan, hooks, { measure: false, ...engine });
  collector.end(result.vm);
  return { phases: collector.phases, failure: collector.failure, result, vcpus: result.vcpus };
}

/** Runs `script` on the virtual clock of a machine. Errors: as {@link runOnThreads}. */
export async function runOnVirtualClock(
  script: Script,
  options: ScriptPlanOptions,
  engine: { readonly profile: MachineProfile; readonly signal: AbortSignal | null },
): Promise<EngineScriptRun> {
  const planned = scriptPlan(script, options);
  const collector = collectorOf(script, planned);
  const vcpus: ThreadsResult['vcpus'][number][] = [];
  let number = 0;
  const hooks: EngineHooks = {
    controlWords: planned.controlWords,
    counters: (counters) => collector.counters(counters),
  };
  const result = await runVirtual(
    planned.plan,
    function* run(context): Task<void> {
      let held: (() => void) | null = null;
      yield* runProgram({
        ...context,
        nextNumber: () => number++,
        report: (report) => collector.report(report as ScriptReport),
        examine: () => collector.paused(context.vm),
        runsVcpu: (mmu) => {
          held = () => {
            const roots = [mmu.root, ...mmu.prevRoots].filter((root) => root !== 0);
            vcpus.push({ id: mmu.vcpu, roots, cachedPages: [...mmu.pageCache.pages] });
          };
        },
      });
      (held as (() => void) | null)?.();
    },
    hooks,
    { profile: engine.profile, signal: engine.signal, measure: false },
  );
  collector.end(result.vm);
  return { phases: collector.phases, failure: collector.failure, result, vcpus };
}

function collectorOf(script: Script, { program }: ScriptPlan): ScriptCollector {
  return new ScriptCollector({ script, program, vcpus: vmOf(script).vcpus });
}
