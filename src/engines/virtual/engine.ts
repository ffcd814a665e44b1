/**
 * The virtual engine: runs coroutines of the single source on a modelled machine, on a virtual clock.
 *
 * @example
 * const engine = new VirtualEngine({ words: 4096, profile: skylake2s96, seed: 1 });
 * engine.addTask({ name: 'vcpu0', cpu: 0, body: (environment) => faultLoop(new Thread(0, 'vcpu0', block, environment)) });
 * const end = engine.run();
 */
import { setImmediate } from 'node:timers/promises';
import { runnerOf, type Task } from '../../machine/point.ts';
import type { ThreadEnvironment } from '../../machine/thread.ts';
import { Cause } from './causes.ts';
import { CpuQueues } from './cpu-queues.ts';
import { Dispatcher } from './dispatcher.ts';
import { type MakeProbe, VirtualEnvironment } from './environment.ts';
import { EventQueue } from './event-queue.ts';
import { LabelMap, type WordLabel } from './labels.ts';
import { type HotLine, LineDirectory } from './line-directory.ts';
import { LOCK_NAMES } from './lock-blame.ts';
import { PriceList, PS_PER_NS, TIME_MAX_PS, toPs } from './price-list.ts';
import type { MachineProfile } from './profile.ts';
import { mixSeed } from './random.ts';
import { RescheduleClock } from './reschedule-clock.ts';
import { type BlockedTask, blockedTasks, type TaskReport, taskReport, totalsByCause } from './run-report.ts';
import { Stepper, Stop } from './stepper.ts';
import { TaskTable } from './task-table.ts';
import { Topology } from './topology.ts';
import { VirtualMemory } from './virtual-memory.ts';
import { Waiters } from './waiters.ts';
import type { Works } from './works.ts';

export interface VirtualEngineOptions {
  /** The arena, or its size in 32-bit words. */
  readonly words: number | Int32Array<SharedArrayBuffer>;
  readonly profile: MachineProfile;
  /** Decides ties and jitter: equal seeds give equal results, bit by bit. */
  readonly seed: number;
  /** Names of words that tasks wait for, locks that report to a probe excepted; those of sleeping locks must be marked. */
  readonly labels?: readonly WordLabel[];
  /** The most tasks that may be added; twice the machine's CPUs unless told, 64 at least. */
  readonly tasksMax?: number;
}

export interface VirtualTask {
  readonly name: string;
  /** The CPU that the task is pinned to; several tasks may share one. See {@link Topology.pin}. */
  readonly cpu: number;
  /** Makes the coroutine, when the task begins. */
  readonly body: (environment: ThreadEnvironment) => Task<unknown>;
  /** When the task begins, in virtual nanoseconds: now at the earliest, and now unless told. */
  readonly startNs?: number;
  /** The run does not wait for the end of this task (a worker that waits for work for ever). */
  readonly daemon?: boolean;
  readonly counters?: Float64Array;
  /** Makes the listener of the task's locks, RCU and flushes. */
  readonly probe?: MakeProbe;
}

export interface RunLimits {
  /** No step begins after this virtual time, in nanoseconds, but for those that nobody else can tell. */
  readonly untilNs?: number;
  /** At most about this many steps are granted in this call. */
  readonly stepsMax?: number;
}

export interface RunProgress {
  readonly timeNs: number;
  readonly steps: number;
  /** Tasks that have not ended, daemons not counted. */
  readonly tasksLeft: number;
}

export interface AsyncRunLimits extends RunLimits {
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: RunProgress) => void;
  /** Steps between two looks at the signal, and two calls of `onProgress`. */
  readonly stepsBetween?: number;
}

/**
 * How a run ended. `deadlock`: nobody can go on, for the reasons in `blocked`. `failed`: the coroutine of `task` threw
 * `error`; the run cannot be continued. After `deadline`, `paused` and `aborted` it can, with the same results as if it had
 * not been interrupted.
 */
export type RunEnd =
  | { readonly status: 'done' | 'deadline' | 'paused' | 'aborted' }
  | { readonly status: 'deadlock'; readonly blocked: readonly BlockedTask[] }
  | { readonly status: 'failed'; readonly task: string; readonly error: unknown };

const COUNTERS = 64;

export class VirtualEngine {
  readonly profile: MachineProfile;
  readonly topology: Topology;
  readonly memory: VirtualMemory;
  readonly labels: LabelMap;
  readonly #works: Works;
  readonly #dispatcher: Dispatcher;
  readonly #waiters: Waiters;
  readonly #stepper: Stepper;
  readonly #seed: number;
  #failure: RunEnd | null = null;

  constructor(options: VirtualEngineOptions) {
    const { profile, seed } = options;
    const words = typeof options.words === 'number' ? new Int32Array(new SharedArrayBuffer(4 * options.words)) : options.words;
    if (words.length >= 2 ** 31) throw new RangeError('the arena must be smaller than 2^31 words');
    this.profile = profile;
    this.topology = new Topology(profile.topology);
    this.labels = new LabelMap(options.labels ?? [], LOCK_NAMES);
    this.memory = new VirtualMemory(words);
    this.#seed = seed;
    const prices = new PriceList(profile);
    const capacity = options.tasksMax ?? Math.max(64, 2 * this.topology.cpus);
    const stride = Cause.waiting + this.labels.names.length;
    const accounts = new Float64Array(capacity * stride);
    const tasks = new TaskTable(capacity);
    this.memory.directory = new LineDirectory(words.length, this.topology, prices, accounts);
    this.#works = {
      tasks,
      queue: new EventQueue(capacity),
      cpus: new CpuQueues(this.topology.cpus, tasks.next),
      memory: this.memory,
      directory: this.memory.directory,
      clock: new RescheduleClock(capacity, prices.tick),
      labels: this.labels,
      prices,
      accounts,
      stride,
      lockColumns: LOCK_NAMES.map((name) => Cause.waiting + this.labels.names.indexOf(name)),
      preemptAnywhere: profile.scheduler.preemption === 'anywhere',
    };
    this.#dispatcher = new Dispatcher(this.#works, mixSeed(seed, -1));
    this.#waiters = new Waiters(this.#works, this.#dispatcher);
    this.#stepper = new Stepper(this.#works, this.#dispatcher, this.#waiters);
  }

  /** The virtual time that every task has reached or is past, in nanoseconds. */
  get timeNs(): number {
    const { queue, tasks } = this.#works;
    if (queue.size > 0) return queue.times[0] / PS_PER_NS;
    return tasks.time.subarray(0, tasks.count).reduce((a, b) => Math.max(a, b), 0) / PS_PER_NS;
  }

  get steps(): number {
    return this.#stepper.steps;
  }

  /** Sleepers that found their word changed without having been woken: a lost wake-up in the code that ran. */
  get lostWakes(): number {
    return this.#waiters.lostWakes;
  }

  /** Tells of each stretch without a scheduling point that is longer than all before it of its task: see `TaskReport`. */
  onLongestStretch(listener: (task: number) => void): void {
    this.#works.clock.onLongest = listener;
  }

  /** Lets every sleeper look at its word again, as if woken by mistake. Between runs. */
  wakeSleepers(): void {
    this.#waiters.wakeAll(toPs(this.timeNs));
  }

  /** Bytes that the cache-line directory holds: it grows with the lines touched. */
  get directoryBytes(): number {
    return this.#works.directory.bytes;
  }

  /** Adds a task between runs; returns its number. @throws RangeError for a CPU that the machine does not have. */
  addTask(task: VirtualTask): number {
    const { tasks } = this.#works;
    const { cpu } = task;
    if (!Number.isInteger(cpu) || cpu < 0 || cpu >= this.topology.cpus) {
      throw new RangeError(`${task.name}: there is no CPU ${cpu}; ${this.profile.name} has ${this.topology.cpus}`);
    }
    const from = this.steps === 0 ? 0 : toPs(this.timeNs);
    const start = Math.max(from, toPs(task.startNs ?? 0));
    const id = tasks.add(task.name, cpu, start, mixSeed(this.#seed, tasks.count), task.daemon === true);
    const environment = new VirtualEnvironment(
      id,
      this.#works,
      this.profile.scheduler.resched,
      task.counters ?? new Float64Array(COUNTERS),
      task.probe ?? null,
    );
    tasks.coroutines[id] = runnerOf(() => task.body(environment));
    this.#dispatcher.start(id);
    return id;
  }

  /** Runs to the end, a limit, a deadlock or a failure. */
  run(limits: RunLimits = {}): RunEnd {
    if (this.#failure !== null) return this.#failure;
    const until = limits.untilNs === undefined ? TIME_MAX_PS : toPs(limits.untilNs);
    const stepsEnd = this.steps + (limits.stepsMax ?? Number.POSITIVE_INFINITY);
    const { tasks, queue, labels, memory } = this.#works;
    this.#stepper.begin();
    try {
      for (;;) {
        const stop = this.#stepper.advance(until, stepsEnd - this.steps);
        if (stop === Stop.stuck && this.#waiters.rescue()) continue;
        if (stop === Stop.done) return { status: 'done' };
        if (stop === Stop.deadline) return { status: 'deadline' };
        if (stop === Stop.paused) return { status: 'paused' };
        return { status: 'deadlock', blocked: blockedTasks(tasks, labels, memory) };
      }
    } catch (error) {
      this.#failure = { status: 'failed', task: tasks.names[queue.items[0]], error };
      return this.#failure;
    } finally {
      this.#stepper.end();
      memory.cpu = -1;
    }
  }

  /** As {@link run}, giving the event loop a turn now and then: for progress, and for Ctrl-C. */
  async runAsync(limits: AsyncRunLimits = {}): Promise<RunEnd> {
    const between = limits.stepsBetween ?? 250_000;
    const stepsEnd = this.steps + (limits.stepsMax ?? Number.POSITIVE_INFINITY);
    for (;;) {
      if (limits.signal?.aborted) return { status: 'aborted' };
      const end = this.run({ ...limits, stepsMax: Math.min(between, stepsEnd - this.steps) });
      limits.onProgress?.(this.progress());
      if (end.status !== 'paused' || this.steps >= stepsEnd) return end;
      await setImmediate();
    }
  }

  progress(): RunProgress {
    return { timeNs: this.timeNs, steps: this.steps, tasksLeft: this.#dispatcher.remaining };
  }

  /** What became of each task, in the order of their adding. */
  reports(): TaskReport[] {
    return Array.from({ length: this.#works.tasks.count }, (_, task) => this.report(task));
  }

  report(task: number): TaskReport {
    return taskReport(task, this.#works);
  }

  /** Nanoseconds by cause, over all tasks, causes without any left out. */
  totals(): Record<string, number> {
    return totalsByCause(this.#works);
  }

  /** The `n` lines whose transfers between CPUs took most time. */
  hottestLines(n: number): (HotLine & { readonly label: string })[] {
    return this.#works.directory.hottest(n).map((line) => ({ ...line, label: this.labels.nameOf(line.address) }));
  }
}
