/**
 * Runs a plan on the virtual clock: one coroutine a thread, one modelled CPU each, and the recorders that real threads have.
 *
 * @example
 * const { plan } = await demandPaging.plan(options, common);
 * const result = await runVirtual(plan, runProgram, { controlWords: plan.controlWords }, { profile: ultramem416 });
 */
import type { Granted } from '../../machine/point.ts';
import { runToEnd } from '../../machine/run.ts';
import { ThreadWord } from '../../machine/thread.ts';
import { NO_BUGS } from '../../mmu/bug-switches.ts';
import { createVm, openVm, type Vm } from '../../vm/vm.ts';
import { OPERATIONS } from '../measure/operations.ts';
import { createRecorder, EVERYTHING, type Recorder } from '../measure/recorder.ts';
import { LiveField, StatRegion } from '../measure/stat-region.ts';
import {
  ControlWord,
  type EngineHooks,
  type EnginePlan,
  type EngineThread,
  layoutPlan,
  type PlanLayout,
  type RunThread,
  threadSeed,
} from '../plan.ts';
import { VirtualEngine } from './engine.ts';
import { LockTimeline } from './lock-timeline.ts';
import { planLabels } from './plan-labels.ts';
import { concludeVirtualRun, type VirtualEnding } from './virtual-conclusion.ts';
import { VirtualProbe } from './virtual-probe.ts';
import type { VirtualResult } from './virtual-result.ts';
import type { FinishedRun, ThreadRecords, VirtualOptions } from './virtual-run.ts';

export const VIRTUAL_DEFAULTS: Omit<VirtualOptions, 'profile'> = {
  pinOrder: 'cores',
  durationMs: 0,
  measure: true,
  signal: null,
  bugs: NO_BUGS,
  watchdogMs: 20_000,
  onProgress: null,
};

/** Threads of one plan at most: 1024 vCPUs and those beside them. */
export const VIRTUAL_THREADS_MAX = 1200;
const PROGRESS_MS = 500;
/** Virtual time that programs which were told to end may take. */
const GRACE_NS = 60e9;

/** Runs `plan`, whose threads' programs `run` runs. Errors: RangeError for a plan that cannot be run. */
export async function runVirtual(
  plan: EnginePlan,
  run: RunThread,
  hooks: EngineHooks,
  options: Partial<VirtualOptions> & Pick<VirtualOptions, 'profile'>,
): Promise<VirtualResult> {
  return await new VirtualRun(plan, run, hooks, { ...VIRTUAL_DEFAULTS, ...options }).result();
}

class VirtualRun implements FinishedRun {
  readonly plan: EnginePlan;
  readonly options: VirtualOptions;
  readonly layout: PlanLayout;
  readonly engine: VirtualEngine;
  readonly region: StatRegion;
  readonly vm: Vm;
  readonly timeline = new LockTimeline();
  readonly phases: { name: string; ns: number }[] = [];
  readonly tallies: { name: string; n: number }[] = [];
  readonly records: ThreadRecords[] = [];
  readonly #run: RunThread;
  readonly #hooks: EngineHooks;
  #progressDue = 0;

  constructor(plan: EnginePlan, run: RunThread, hooks: EngineHooks, options: VirtualOptions) {
    const count = plan.threads.length;
    if (count < 1 || count > VIRTUAL_THREADS_MAX) {
      throw new RangeError(`${count} threads: the virtual clock runs 1 to ${VIRTUAL_THREADS_MAX}`);
    }
    this.plan = plan;
    this.options = options;
    this.#run = run;
    this.#hooks = hooks;
    this.layout = layoutPlan(plan, hooks.controlWords);
    const { arenaWords, config, vm, coordinatorId } = this.layout;
    if (arenaWords >= 2 ** 31) {
      throw new RangeError(`the VM takes ${(arenaWords / 2 ** 28).toFixed(1)} GiB of memory to model, 8 are the most`);
    }
    const labels = planLabels(this.layout);
    this.engine = new VirtualEngine({
      words: arenaWords,
      profile: options.profile,
      seed: plan.seed,
      labels,
      tasksMax: count + 1,
    });
    this.region = new StatRegion(count + 1, options.measure);
    const { memory } = this.engine;
    createVm(memory, config);
    const counters = this.region.counters(coordinatorId);
    const environment = { memory, now: () => this.engine.timeNs, needResched: () => false, counters, probe: null };
    this.vm = openVm({ layout: vm, threadId: coordinatorId, threadName: 'coordinator', environment, bugs: options.bugs });
  }

  async result(): Promise<VirtualResult> {
    const { setUp } = this.#hooks;
    if (setUp) runToEnd(this.engine.memory, setUp.call(this.#hooks, this.vm, this.layout.control));
    this.#hooks.counters?.(this.plan.threads.map((_, id) => this.region.counters(id)));
    this.plan.threads.forEach((thread, id) => {
      this.#addThread(thread, id);
    });
    this.engine.onLongestStretch((task) => {
      this.records[task].stallOperation = this.operationOf(task);
    });
    return concludeVirtualRun(this, await this.#runToItsEnd());
  }

  /** Index of the operation that a thread began last. */
  operationOf(id: number): number {
    return this.region.measured ? this.region.doubles[this.region.offset(id, 'live') + LiveField.operation] : 0;
  }

  /** The `held` word of a thread's block. */
  heldMaskOf(id: number): number {
    return this.engine.memory.words[this.layout.vm.kvm.threadBlock(id) + ThreadWord.held];
  }

  #addThread(thread: EngineThread, id: number): void {
    const { plan, options, region, layout, engine } = this;
    const seed = threadSeed(plan.seed, thread);
    let recorder: Recorder | null = null;
    let probe: VirtualProbe | null = null;
    engine.addTask({
      name: thread.name,
      cpu: engine.topology.pin(id, options.pinOrder),
      daemon: thread.daemon,
      counters: region.counters(id),
      ...(options.measure && {
        probe: (now) => {
          recorder = createRecorder({ region, thread: id, now, seed, sampling: EVERYTHING });
          probe = new VirtualProbe({
            inner: recorder.probe,
            now,
            timeline: this.timeline,
            operation: () => this.operationOf(id),
          });
          return probe;
        },
      }),
      body: (environment) => {
        const trace = recorder?.trace ?? null;
        const vm = openVm({
          layout: layout.vm,
          threadId: id,
          threadName: thread.name,
          environment,
          trace,
          bugs: options.bugs,
        });
        const phase = (name: string, ns: number): void => {
          this.phases.push({ name, ns });
        };
        const tally = (name: string, n: number): void => {
          this.tallies.push({ name, n });
        };
        return this.#run({ plan, thread, vm, control: layout.control, seed, phase, tally });
      },
    });
    const counters = region.counters(id);
    this.records.push({
      thread,
      recorder: recorder ?? { counters, probe: null, trace: null },
      probe,
      stallOperation: OPERATIONS.indexOf('none'),
    });
  }

  async #runToItsEnd(): Promise<VirtualEnding> {
    const { engine, options, layout } = this;
    const began = performance.now();
    const limits = { signal: options.signal ?? undefined, onProgress: () => this.#report(began) };
    const untilNs = options.durationMs > 0 ? options.durationMs * 1e6 : undefined;
    let end = await engine.runAsync({ ...limits, untilNs });
    if (end.status === 'deadline') {
      engine.memory.store32((layout.control + ControlWord.stop) as Granted, 1);
      engine.wakeSleepers();
      end = await engine.runAsync({ ...limits, untilNs: untilNs! + GRACE_NS });
    }
    return end;
  }

  #report(began: number): void {
    const { onProgress } = this.options;
    const elapsedMs = performance.now() - began;
    if (onProgress === null || elapsedMs < this.#progressDue) return;
    this.#progressDue = elapsedMs + PROGRESS_MS;
    const { timeNs, steps, tasksLeft } = this.engine.progress();
    const { threads } = this.plan;
    onProgress({
      elapsedMs,
      timeNs,
      steps,
      running: tasksLeft,
      ended: threads.length - tasksLeft,
      counter: (index) => threads.reduce((sum, _, id) => sum + this.records[id].recorder.counters[index], 0),
    });
  }
}
