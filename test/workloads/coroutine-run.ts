/** Runs a workload's programs as coroutines of one thread, in seeded turns: every run is repeatable. */
import type { MmuEventTable } from '../../src/engines/measure/mmu-events.ts';
import { readMmuEvents } from '../../src/engines/measure/read-measurement.ts';
import { createRecorder, EVERYTHING } from '../../src/engines/measure/recorder.ts';
import { StatRegion } from '../../src/engines/measure/stat-region.ts';
import { layoutPlan, threadSeed } from '../../src/engines/plan.ts';
import { PlainMemory } from '../../src/machine/plain-memory.ts';
import { runTogether, seededPick } from '../../src/machine/run.ts';
import type { BugSwitches } from '../../src/mmu/bug-switches.ts';
import { checkVm } from '../../src/oracles/index.ts';
import type { StateOptions } from '../../src/oracles/quiescent-state.ts';
import { createVm, openVm, type Vm } from '../../src/vm/vm.ts';
import { parseOptions } from '../../src/workloads/option.ts';
import { Control } from '../../src/workloads/programs/control.ts';
import { runProgram } from '../../src/workloads/programs/index.ts';
import { SentPages, sentVersion } from '../../src/workloads/programs/vmm.ts';
import { runSettings } from '../../src/workloads/run-settings.ts';
import type { PreparedPlan, Workload } from '../../src/workloads/workload.ts';

/** Time that passes at each look at the clock. */
const LOOK_NS = 1000;

export interface CoroutineRun {
  readonly vm: Vm;
  /** Times of phases by name. */
  readonly phases: Readonly<Record<string, readonly number[]>>;
  /** What programs counted, by name. */
  readonly tallies: Readonly<Record<string, readonly number[]>>;
  /** What the MMU's tracepoints reported, counted. */
  readonly mmuEvents: MmuEventTable;
  /** Sum over all threads of a counter. */
  counter(index: number): number;
  /** What the oracles find in the end. */
  violations(): string[];
}

export interface CoroutineOptions {
  readonly seed?: number;
  readonly bugs?: BugSwitches;
  readonly sets?: readonly string[];
  readonly operand?: string;
}

export async function prepare(
  workload: Workload,
  given: Record<string, string | boolean>,
  options: CoroutineOptions = {},
): Promise<PreparedPlan> {
  return workload.plan(parseOptions(workload.options, given), runSettings({}, options.sets ?? []), options.operand);
}

export function runPrepared({ plan, prepare: fill, sentAt }: PreparedPlan, options: CoroutineOptions = {}): CoroutineRun {
  const layout = layoutPlan(plan, plan.controlWords);
  const memory = new PlainMemory(new Int32Array(new SharedArrayBuffer(4 * layout.arenaWords)));
  createVm(memory, layout.config);
  fill?.(new Control(memory, layout.control), memory);
  let clock = 0;
  const now = (): number => (clock += LOOK_NS);
  const counters: Float64Array[] = [];
  const region = new StatRegion(plan.threads.length + 1, true);
  const phases: Record<string, number[]> = {};
  const tallies: Record<string, number[]> = {};
  const add = (series: Record<string, number[]>) => (name: string, n: number) => {
    series[name] = [...(series[name] ?? []), n];
  };
  const open = (threadId: number, name: string): Vm => {
    const own = createRecorder({ region, thread: threadId, now: () => clock, seed: 1, sampling: EVERYTHING });
    counters[threadId] = own.counters;
    const environment = { memory, now, needResched: () => false, counters: own.counters, probe: null };
    return openVm({ layout: layout.vm, threadId, threadName: name, environment, trace: own.trace, bugs: options.bugs });
  };
  const tasks = plan.threads.map((thread, id) =>
    runProgram({
      plan,
      thread,
      vm: open(id, thread.name),
      control: layout.control,
      seed: threadSeed(plan.seed, thread),
      phase: add(phases),
      tally: add(tallies),
    }),
  );
  runTogether(memory, tasks, seededPick(options.seed ?? 1), { maxSteps: 50_000_000 });
  const vm = open(layout.coordinatorId, 'coordinator');
  const pages = sentAt === undefined ? null : new SentPages(new Control(memory, layout.control), vm, sentAt);
  const sent: StateOptions['sent'] = pages === null ? undefined : (slot, gfn) => sentVersion(vm, pages, slot, gfn);
  const counter = (index: number): number => counters.reduce((sum, all) => sum + all[index], 0);
  return {
    vm,
    phases,
    tallies,
    mmuEvents: readMmuEvents(region),
    counter,
    violations: () =>
      checkVm(vm, { counter, sent }).flatMap(({ violations }) => violations.map(({ rule, message }) => `${rule}: ${message}`)),
  };
}

export async function run(
  workload: Workload,
  given: Record<string, string | boolean>,
  options: CoroutineOptions = {},
): Promise<CoroutineRun> {
  return runPrepared(await prepare(workload, given, options), options);
}
