/**
 * The interpreter: runs a script phase by phase in one JavaScript thread and writes down what happened.
 *
 * What runs alone runs to its end; threads that run side by side take steps in turns, in an order that a seed decides, or
 * one after the other.
 */

import type { Task } from '../machine/point.ts';
import { type Pick, runToEnd, runTogether, seededPick, type TogetherOptions } from '../machine/run.ts';
import type { KernelName } from '../mmu/generation.ts';
import { DEFAULT_KERNEL } from '../mmu/generation.ts';
import type { IterName } from '../mmu/params.ts';
import { destroyVm } from '../vm/ioctl.ts';
import { vcpuDestroy } from '../vm/vcpu-run.ts';
import { runOperation } from '../workloads/programs/script-operations.ts';
import { checkExpectation } from './expect.ts';
import { CODE_SLOT, ScriptMachine } from './machine.ts';
import { StatReader } from './record/counters.ts';
import type { PhaseCall, PhaseEvent, PhaseRecord } from './record/event.ts';
import { dumpState } from './record/state-dump.ts';
import {
  IOCTL_THREAD,
  type Script,
  type ScriptPhase,
  type ScriptStep,
  type ScriptThread,
  threadOf,
  vcpuOf,
  vcpuThread,
} from './script.ts';
import { ExpectationError } from './script-error.ts';
import { SpteFilter } from './spte-filter.ts';
import type { Operation } from './vocabulary.ts';

export interface RunOptions {
  /** The kernel where the script names none. */
  readonly kernel: KernelName;
  /** How walks pass empty entries, instead of what the script says. */
  readonly iter?: IterName | undefined;
  /** Whether each guest entry finds an empty TLB, as on the recorded host. */
  readonly flushOnEntry: boolean;
  /** Decides whose step is next where threads run side by side. */
  readonly seed: number;
  /** Overrides `seed`: called for each step that runs threads side by side. */
  readonly scheduleFor?: (step: ScriptStep) => Schedule;
  /** Whether the scheduler wants the processor of that thread back. */
  readonly needResched?: (thread: string) => boolean;
  /** Whether walks give mmu_lock up to waiters, as preemptible kernels do. */
  readonly needbreak: boolean;
  /** Steps of all threads together in one step of the script. */
  readonly maxSteps: number;
  /** Called for every event as it happens, before folding. */
  readonly onEvent?: (event: PhaseEvent) => void;
  /** Called when a thread of a step is done. */
  readonly onThreadEnd?: (thread: string) => void;
}

/** Decides an interleaving. Tasks are numbered as the threads of the step. */
export interface Schedule {
  readonly pick: Pick;
  readonly onStep?: TogetherOptions['onStep'];
}

export const RUN_DEFAULTS: RunOptions = {
  kernel: DEFAULT_KERNEL,
  flushOnEntry: false,
  seed: 1,
  needbreak: true,
  maxSteps: 200_000_000,
};

export interface ScriptRun {
  readonly script: Script;
  readonly machine: ScriptMachine;
  readonly phases: readonly PhaseRecord[];
}

/** Runs `script`. Errors: ExpectationError; InvariantError where the MMU broke a rule. */
export function runScript(script: Script, options: Partial<RunOptions> = {}): ScriptRun {
  const runner = new ScriptRunner(script, { ...RUN_DEFAULTS, ...options });
  return { script, machine: runner.machine, phases: script.phases.map((phase, n) => runner.runPhase(phase, n)) };
}

export class ScriptRunner {
  readonly machine: ScriptMachine;
  readonly #script: Script;
  readonly #options: RunOptions;
  readonly #stats: StatReader;
  #began = false;
  #alive = false;
  /** Where the operations of the phase under way stand in it. */
  #indexOf: ReadonlyMap<Operation, number> = new Map();

  constructor(script: Script, options: RunOptions) {
    this.#script = script;
    this.#options = options;
    this.machine = new ScriptMachine(script, options);
    this.machine.log.listener = options.onEvent ?? null;
    this.#stats = new StatReader(this.machine.statSource);
  }

  /** Runs the next phase. */
  runPhase(phase: ScriptPhase, n: number): PhaseRecord {
    const results = new Map<Operation, string>();
    const events: PhaseEvent[] = [];
    const calls: PhaseCall[] = [];
    const take = (): void => {
      const taken = this.machine.log.takeNumbered();
      calls.push(...taken.calls.map(({ at, by, index, ends }) => ({ at: events.length + at, by, index, ends })));
      events.push(...taken.events);
    };
    this.#indexOf = new Map(phase.operations.map((operation, i) => [operation, i]));
    for (const step of phase.steps) {
      const expectation = step.threads[0].operations[0];
      if (step.threads.length === 1 && expectation.op === 'expect') {
        take();
        const last = [...results.values()].at(-1);
        const { vm } = this.machine.thread(IOCTL_THREAD);
        const failure = checkExpectation(vm, expectation.values, { events, result: last, stats: this.#stats });
        if (failure !== null) {
          throw new ExpectationError({ file: this.#script.file, line: expectation.line, message: failure });
        }
        continue;
      }
      this.#runStep(step, results);
    }
    take();
    const counters = this.#stats.read();
    return {
      n,
      words: phase.words,
      results: phase.operations.map((operation) => results.get(operation) ?? ''),
      events,
      calls,
      counters: this.#alive ? counters : {},
      end: this.#alive ? dumpState(this.machine.thread(IOCTL_THREAD).vm.kvm) : null,
    };
  }

  #runStep(step: ScriptStep, results: Map<Operation, string>): void {
    const { memory } = this.machine;
    const tasks = step.threads.map((thread) => this.#thread(thread, results));
    if (tasks.length === 1) {
      runToEnd(memory, tasks[0]);
      return;
    }
    const { scheduleFor, seed, maxSteps } = this.#options;
    const { pick, onStep } = scheduleFor?.(step) ?? { pick: seededPick(seed) };
    runTogether(memory, tasks, pick, { maxSteps, onStep });
  }

  *#thread(thread: ScriptThread, results: Map<Operation, string>): Task<void> {
    const { log } = this.machine;
    for (const operation of thread.operations) {
      const index = this.#indexOf.get(operation)!;
      const by = vcpuOf(operation) === undefined ? thread.name : vcpuThread(vcpuOf(operation)!);
      log.call(by, index, false);
      results.set(operation, yield* this.#operation(thread, operation));
      log.call(by, index, true);
    }
    this.#options.onThreadEnd?.(thread.name);
  }

  *#operation(thread: ScriptThread, operation: Operation): Task<string> {
    const { machine } = this;
    switch (operation.op) {
      case 'vm':
        return yield* this.#begin();
      case 'mem':
        return `mem ${operation.values.mem} size=0x${operation.values.size.toString(16)}`;
      case 'destroy':
        return yield* this.#destroy();
      case 'sys':
        machine.log.wanted = new SpteFilter(operation.values.value).wanted(machine.log.wanted);
        return '';
      case 'param':
        if (!this.#began) return '';
        break;
      case 'touch':
      case 'atouch': {
        machine.log.offsets[operation.values.vcpu] = operation.values.off;
        return yield* runOperation(machine.context(vcpuThread(operation.values.vcpu)), operation);
      }
      case 'resched':
      case 'allocfail':
        // A thread that runs vCPUs is disturbed in their runs, too.
        for (const name of [thread.name, ...vcpusOf(thread)]) yield* runOperation(machine.context(name), operation);
        return '';
      case 'prefault': {
        // The ioctl runs on the vCPU, in the thread that makes it.
        const { recorder } = machine.thread(vcpuThread(operation.values.vcpu));
        const { by } = recorder;
        recorder.by = thread.name;
        const result = yield* runOperation(machine.context(thread.name), operation);
        recorder.by = by;
        return result;
      }
      default:
    }
    const name = machine.threads.has(thread.name) ? thread.name : threadOf(operation);
    return yield* runOperation(machine.context(name), operation);
  }

  *#begin(): Task<string> {
    this.#began = true;
    this.#alive = true;
    const { machine } = this;
    machine.log.take();
    if (machine.codeSlot) {
      const operation: Operation = { op: 'slot', line: 0, values: CODE_SLOT };
      yield* runOperation(machine.context(IOCTL_THREAD), operation);
      machine.log.take();
    }
    return '';
  }

  *#destroy(): Task<string> {
    const { machine } = this;
    // vCPUs are given up in the thread that closes the VM.
    const threads = machine.vcpus.map(({ id }) => machine.thread(vcpuThread(id)));
    for (const { recorder } of threads) recorder.by = IOCTL_THREAD;
    yield* destroyVm(machine.thread(IOCTL_THREAD).vm, function* () {
      for (const vcpu of machine.vcpus) yield* vcpuDestroy(vcpu);
    });
    this.#alive = false;
    return 'vcpu fds closed | vm fd closed';
  }
}

/** The threads of the vCPUs that a thread of the script runs. */
function vcpusOf({ operations }: ScriptThread): readonly string[] {
  const ids = operations.map(vcpuOf).filter((id) => id !== undefined);
  return [...new Set(ids)].map(vcpuThread);
}
