/**
 * A thread of a script on an engine whose threads run really side by side, or whose clock decides.
 *
 * The thread that issues ioctls conducts: it begins each step, waits until all that take part are done, and lets whoever
 * examines the state look at it at the end of a phase. A thread of the script is a lane: its operations run one after the
 * other, each on the thread that executes it. What happens is numbered by a sequence that all threads share, and reported to
 * the process that runs them.
 */
import type { EngineContext } from '../../engines/plan.ts';
import { type Address, read, type Task, wait, wake, write } from '../../machine/point.ts';
import { wakeWorkers } from '../../machine/workqueue.ts';
import { zapQueuedRoot } from '../../mmu/zap-worker.ts';
import { isVcpuThread, type ProgramLane, type ProgramStep, type ScriptProgram, takesPart } from '../../script/program.ts';
import { EventLog, Recorder, type TakenEvents } from '../../script/record/recorder.ts';
import { TRACE_POINTS } from '../../script/record/trace-points.ts';
import { IOCTL_THREAD } from '../../script/script.ts';
import { SpteFilter } from '../../script/spte-filter.ts';
import type { Operation, Values } from '../../script/vocabulary.ts';
import { destroyVm } from '../../vm/ioctl.ts';
import type { Vcpu } from '../../vm/vcpu.ts';
import { vcpuDestroy } from '../../vm/vcpu-run.ts';
import { openVm, type Vm } from '../../vm/vm.ts';
import { Control } from './control.ts';
import { Disturbances } from './script-disturbances.ts';
import { runOperation, type ScriptContext } from './script-operations.ts';
import { scriptVcpu } from './script-vcpu.ts';

/** What the threads of a script are given, as JSON in the plan's option `script`. */
export interface ScriptInput {
  readonly program: ScriptProgram;
  /** The slot of the guest's code; null: fetching is not modelled. */
  readonly codeSlot: Values<'slot'> | null;
  readonly flushOnEntry: boolean;
  /** Whether the engine's scheduler never wants a processor back: only `resched` of the script does. */
  readonly reschedByScript: boolean;
  readonly regionsByAddress: readonly string[];
  readonly reclaimWalksTables: boolean;
}

/** What a thread reports while the script runs. */
export type ScriptReport =
  /** What happened on it, and the number of each event in the order of all threads. */
  | ({ readonly kind: 'events' } & TakenEvents)
  /** What an operation said. */
  | { readonly kind: 'result'; readonly phase: number; readonly index: number; readonly said: string }
  /** A phase is over, or an expectation is to be checked: events up to that number belong before it. */
  | { readonly kind: 'pause'; readonly number: number };

/** A lane's progress is a word of its own line: how many of its operations are done. */
const LANE_WORDS = 16;
const ALL = 0x7fff_ffff;

/** Words of the control block's data that the threads of `program` use. */
export function scriptControlWords({ steps }: ScriptProgram): number {
  return LANE_WORDS * Math.max(1, ...steps.map(({ lanes }) => lanes.length));
}

/** Runs a thread of a script's plan. */
export function* scriptThread(context: EngineContext): Task<void> {
  const thread = new ScriptThread(context);
  yield* thread.run();
  // The worker sleeps on its queue, and would not see that the run comes to an end.
  if (context.vm.config.zapWorker === true) yield* wakeWorkers(thread.vm.kvm.zapQueue, thread.vm.thread);
}

/** The worker that zaps invalidated roots, in the kernels that have one. */
export function* scriptZapWorker(context: EngineContext): Task<void> {
  const { vm, control, report } = new ScriptThread(context);
  const { kvm, memory } = vm;
  const { events } = kvm.zapQueue;
  for (;;) {
    const seen = memory.load32(yield read(events));
    const zapped = yield* zapQueuedRoot(kvm);
    report();
    if (zapped) continue;
    if (yield* control.stopped()) return;
    yield wait(events, seen);
  }
}

class ScriptThread {
  readonly vm: Vm;
  readonly control: Control;
  readonly #context: EngineContext;
  readonly #name: string;
  readonly #input: ScriptInput;
  readonly #log: EventLog;
  readonly #recorder: Recorder;
  readonly #disturbances = new Disturbances();
  readonly #vcpu: Vcpu | null;
  readonly #operations: ScriptContext;
  /** For the conductor: parts of steps that all threads have taken. */
  #parts = 0;
  #began = false;

  constructor(context: EngineContext) {
    this.#context = context;
    const { thread, plan, vm } = context;
    this.#name = thread.name;
    this.#input = JSON.parse(String(plan.options.script)) as ScriptInput;
    this.control = new Control(vm.memory, context.control);
    this.#log = new EventLog(TRACE_POINTS[vm.config.kernel], context.nextNumber);
    this.#recorder = new Recorder(this.#log, thread.name);
    this.vm = this.#open();
    this.#log.geometry = this.vm.kvm.geometry;
    const { codeSlot, flushOnEntry, regionsByAddress, reclaimWalksTables } = this.#input;
    const isVcpu = thread.role === 'vcpu';
    this.#vcpu = isVcpu ? scriptVcpu(this.vm, { id: thread.index, code: codeSlot !== null, flushOnEntry }) : null;
    if (this.#vcpu !== null) context.runsVcpu?.(this.#vcpu.mmu);
    this.#operations = {
      vm: this.vm,
      vcpu: () => this.#vcpu!,
      regionsByAddress,
      reclaimWalksTables,
      disturb: (name, every) => this.#disturbances.set(name, every),
    };
  }

  /** A handle of its own: the engine's has no listeners. */
  #open(): Vm {
    const { vm, thread } = this.#context;
    const host = vm.thread.environment;
    const environment = {
      memory: host.memory,
      now: () => host.now(),
      ...(host.giveWay ? { giveWay: () => host.giveWay!() } : {}),
      ...this.#disturbances.over(this.#input.reschedByScript ? { ...host, needResched: () => false } : host),
      counters: host.counters,
      probe: this.#recorder,
    };
    const { layout } = vm;
    return openVm({ layout, threadId: vm.thread.id, threadName: thread.name, environment, trace: this.#recorder });
  }

  /** Runs the steps in which this thread takes part; the conductor all of them. */
  *run(): Task<void> {
    const { steps } = this.#input.program;
    const conducts = this.#name === IOCTL_THREAD;
    for (const [i, step] of steps.entries()) {
      this.#filter(step);
      if (conducts) yield* this.#begin(i + 1, step);
      if (takesPart(step, this.#name)) {
        if (!conducts && !(yield* this.control.awaitTurn(i + 1))) return;
        if (!(yield* this.#takePart(step))) return;
        this.report();
        yield* this.control.endRound();
      }
      if (conducts && !(yield* this.#end(step))) return;
    }
  }

  /** The filter of the tracepoint of SPTE changes is everybody's. */
  #filter({ lanes }: ProgramStep): void {
    for (const { operations } of lanes) {
      for (const { operation } of operations) {
        if (operation.op === 'sys') this.#log.wanted = new SpteFilter(operation.values.value).wanted(this.#log.wanted);
      }
    }
  }

  *#begin(turn: number, { lanes }: ProgramStep): Task<void> {
    const { memory } = this.vm;
    for (const i of lanes.keys()) memory.store32(yield write(this.#lane(i)), 0);
    yield* this.control.passTurn(turn);
  }

  /** Waits for all that take part, and pauses where the state is to be looked at. */
  *#end(step: ProgramStep): Task<boolean> {
    const { threads } = this.#input.program;
    this.#parts += threads.filter((name) => takesPart(step, name)).length;
    if (!(yield* this.control.awaitRounds(this.#parts))) return false;
    if (step.endsPhase || isExpectation(step)) {
      this.#tell({ kind: 'pause', number: this.#context.nextNumber?.() ?? 0 });
      if (!this.#context.examine) yield* this.control.checkpoint();
      else if (!this.#context.examine()) yield* this.control.stop();
    }
    return !(yield* this.control.stopped());
  }

  #lane(i: number): Address {
    return this.control.data(LANE_WORDS * i);
  }

  *#takePart(step: ProgramStep): Task<boolean> {
    for (const [i, lane] of step.lanes.entries()) {
      if (!(yield* this.#runLane(step.phase, i, lane))) return false;
    }
    return true;
  }

  /** Runs its share of a lane. False where the run is stopped. */
  *#runLane(phase: number, number: number, { operations }: ProgramLane): Task<boolean> {
    for (const [i, { index, operation, on }] of operations.entries()) {
      if (operation.op === 'destroy') {
        if (!(yield* this.#destroy(number))) return false;
      } else if (on !== this.#name) {
        // Whoever runs a vCPU for this lane is disturbed as the lane is.
        if (operation.op === 'resched' || operation.op === 'allocfail') yield* runOperation(this.#operations, operation);
      } else if (!(yield* this.#await(number, i))) {
        return false;
      }
      if (on !== this.#name) continue;
      this.#log.call(this.#name, index, false);
      const said = yield* this.#operation(operation);
      this.#log.call(this.#name, index, true);
      this.#tell({ kind: 'result', phase, index, said });
      yield* this.#advance(number, i + 1);
    }
    return true;
  }

  /** Waits until `done` operations of a lane are. False where the run is stopped. */
  *#await(lane: number, done: number): Task<boolean> {
    const word = this.#lane(lane);
    for (;;) {
      const now = this.vm.memory.load32(yield read(word));
      if (now >= done) return true;
      if (yield* this.control.stopped()) return false;
      yield wait(word, now);
    }
  }

  *#advance(lane: number, done: number): Task<void> {
    const word = this.#lane(lane);
    this.vm.memory.store32(yield write(word), done);
    yield wake(word, ALL);
  }

  *#operation(operation: Operation): Task<string> {
    switch (operation.op) {
      case 'vm':
        return yield* this.#createVm();
      case 'mem':
        return `mem ${operation.values.mem} size=0x${operation.values.size.toString(16)}`;
      case 'sys':
      case 'expect':
        return '';
      case 'destroy':
        return 'vcpu fds closed | vm fd closed';
      case 'param':
        // Before there is a VM parameters are part of its configuration.
        return this.#began ? yield* runOperation(this.#operations, operation) : '';
      case 'touch':
      case 'atouch':
        this.#log.offsets[operation.values.vcpu] = operation.values.off;
        return yield* runOperation(this.#operations, operation);
      default:
        return yield* runOperation(this.#operations, operation);
    }
  }

  *#createVm(): Task<string> {
    this.#began = true;
    const { codeSlot } = this.#input;
    if (codeSlot !== null) yield* runOperation(this.#operations, { op: 'slot', line: 0, values: codeSlot });
    // Recordings begin behind it.
    this.#log.take();
    return '';
  }

  /** The conductor closes the VM; in the middle of that each vCPU's thread, in turn, gives up what its vCPU holds. */
  *#destroy(lane: number): Task<boolean> {
    if (this.#name === IOCTL_THREAD) {
      yield* destroyVm(this.vm, () => this.#freeVcpus(lane));
      return !(yield* this.control.stopped());
    }
    const turn = 1 + this.#runners.indexOf(this.#name);
    if (!(yield* this.#await(lane, turn))) return false;
    // In the kernel it is the thread that closes the VM that does it.
    this.#recorder.by = IOCTL_THREAD;
    if (this.#vcpu !== null) yield* vcpuDestroy(this.#vcpu);
    this.#recorder.by = this.#name;
    yield* this.#advance(lane, turn + 1);
    return true;
  }

  *#freeVcpus(lane: number): Task<void> {
    yield* this.#advance(lane, 1);
    yield* this.#await(lane, 1 + this.#runners.length);
  }

  get #runners(): readonly string[] {
    return this.#input.program.threads.filter(isVcpuThread);
  }

  /** Reports what happened since the last time. */
  report = (): void => {
    const taken = this.#log.takeNumbered();
    if (taken.events.length + taken.calls.length === 0) return;
    this.#context.report?.({ kind: 'events', ...taken } satisfies ScriptReport);
  };

  #tell(report: ScriptReport): void {
    this.report();
    this.#context.report?.(report);
  }
}

const isExpectation = ({ lanes }: ProgramStep): boolean => lanes[0]?.operations[0]?.operation.op === 'expect';
