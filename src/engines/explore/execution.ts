/**
 * One execution: the coroutines, the step that each has announced, and the log of what was done.
 *
 * A *task* is a thread, or under TSO also the draining of a thread's store buffer (`threads.length + thread`). Whoever
 * schedules asks which tasks are enabled and lets one of them take its step. Steps that touch nothing shared are taken at
 * once, with the step before them: work (`spend`), wakes (a waiter is enabled by its word, not by being woken), fences
 * where there is no store buffer, and a turn of a spin loop as soon as somebody has written the word it spins on.
 */
import { InvariantError } from '../../machine/invariant.ts';
import { type Granted, operands, type Step, StepKind, type Task } from '../../machine/point.ts';
import { ACCESS_OF_STEP, Access, describeWait, isConditional, isUntil, satisfied } from './access.ts';
import { DrawnContext } from './drawn-context.ts';
import type { Finding, MemoryModel, Program, StepEvent } from './program.ts';
import { BufferedMemory } from './store-buffers.ts';
import { TrackedMemory } from './tracked-memory.ts';
import { wider } from './wider.ts';

/** The announced step of a task that has none any more. */
export const DONE = -1;
/** Invisible steps that a thread may take in a row before it counts as stuck. */
const INVISIBLE_STEPS_MAX = 100_000;

export class Execution {
  readonly program: Program;
  readonly model: MemoryModel;
  readonly memory: TrackedMemory;
  readonly threadCount: number;
  readonly taskCount: number;
  readonly context = new DrawnContext();
  /** Seed of the numbers that the program draws in this execution. */
  dataSeed = 0;

  /** The step that each thread has announced, or {@link DONE}. */
  readonly pending: number[];
  /** What a conditional step of each thread waits for: see `satisfied`. */
  readonly expected: number[];
  /** Threads with a step to take, and non-empty store buffers. */
  live = 0;

  /** Steps taken so far, and for each: the task, the announced step, the access that it came to. */
  length = 0;
  task: Int32Array;
  step: Int32Array;
  access: Int32Array;
  /** For each step: 0, or that it was a compare-and-exchange of 32 (1) or 64 bits (2), and what it compared with. */
  exchange: Uint8Array;
  exchangeLo: Int32Array;
  exchangeHi: Int32Array;

  /**
   * For each step, the turns of spin loops that its task made since its step before, or null: pairs of a granule and 1 + the
   * index of the step at which the thread had seen it last (0: never). The first write since then let the thread go on.
   */
  spins: (number[] | null)[];
  /** For each step: how many steps had been taken when its task last passed a fence, 0 for no fence since its step before. */
  fence: Int32Array;

  /** Enabled tasks, filled by {@link listEnabled}. */
  readonly enabledTasks: Int32Array;

  /** For each thread, what {@link spins} and {@link fence} will say of its next step. */
  readonly #spins: (number[] | null)[];
  readonly #fence: number[];
  readonly #buffered: BufferedMemory | null;
  readonly #coroutines: Task<unknown>[];
  readonly #daemons: boolean;
  /** Threads whose announced step may be disabled: a wait, an acquire, a relax, or a fence with a store buffer. */
  #special = 0;
  /** Threads that spin or stand at a fence. */
  #parked = 0;
  /** Threads that wait by an `until` which has not come true. */
  #waiting = 0;
  /** For each thread, whether the `until` that it announced has come true, once. */
  readonly #came: Uint8Array;
  #listed = false;
  #listedCount = 0;
  readonly #event: StepEvent = { index: 0, task: 0, step: 0 };

  constructor(program: Program, model: MemoryModel = 'sc') {
    this.program = program;
    this.model = model;
    this.threadCount = program.threads.length;
    this.taskCount = model === 'tso' ? 2 * this.threadCount : this.threadCount;
    this.#buffered = model === 'tso' ? new BufferedMemory(program.words, this.threadCount) : null;
    this.memory = this.#buffered ?? new TrackedMemory(program.words);
    program.setup?.(this.memory);
    this.memory.freeze();
    this.pending = new Array(this.threadCount).fill(DONE);
    this.expected = new Array(this.threadCount).fill(0);
    this.#spins = new Array(this.threadCount).fill(null);
    this.#fence = new Array(this.threadCount).fill(0);
    this.#came = new Uint8Array(this.threadCount);
    this.spins = new Array(256).fill(null);
    this.fence = new Int32Array(256);
    this.enabledTasks = new Int32Array(this.taskCount);
    this.#coroutines = new Array(this.threadCount);
    this.#daemons = program.threads.some((t) => t.daemon === true);
    this.task = new Int32Array(256);
    this.step = new Int32Array(256);
    this.access = new Int32Array(256);
    this.exchange = new Uint8Array(256);
    this.exchangeLo = new Int32Array(256);
    this.exchangeHi = new Int32Array(256);
  }

  /** Restores the arena and brings every thread to its first step. */
  start(): void {
    const { program, pending } = this;
    this.memory.restore();
    program.reset?.();
    this.context.seed(this.dataSeed);
    this.length = 0;
    this.live = 0;
    this.#special = 0;
    this.#parked = 0;
    this.#waiting = 0;
    this.#listed = false;
    for (let t = 0; t < this.threadCount; t++) pending[t] = DONE;
    for (let t = 0; t < this.threadCount; t++) {
      this.#spins[t] = null;
      this.#fence[t] = 0;
      this.live++;
      this.#coroutines[t] = program.threads[t].run(this.memory, this.context);
      this.#resume(t, 0);
    }
  }

  /** Whether task `t` could take a step now. */
  enabled(t: number): boolean {
    if (t >= this.threadCount) return (this.#buffered as BufferedMemory).buffers[t - this.threadCount].length > 0;
    const step = this.pending[t];
    if (step < 0) return false;
    const kind = step & 15;
    if (kind === StepKind.Read) return true;
    if (this.#buffered !== null && this.#buffered.buffers[t].length > 0) return false;
    if (kind < StepKind.Wait) return true;
    if (isUntil(kind)) return this.#came[t] !== 0;
    return isConditional(kind) && satisfied(kind, this.memory.words[step >>> 4], this.expected[t]);
  }

  /** Fills {@link enabledTasks} in ascending order and returns their number. */
  listEnabled(): number {
    if (this.#listed && this.#special === 0 && this.#buffered === null) return this.#listedCount;
    let n = 0;
    const { enabledTasks, pending } = this;
    if (this.#special === 0 && this.#buffered === null) {
      for (let t = 0; t < this.threadCount; t++) if (pending[t] >= 0) enabledTasks[n++] = t;
      this.#listed = true;
    } else {
      for (let t = 0; t < this.taskCount; t++) if (this.enabled(t)) enabledTasks[n++] = t;
      this.#listed = false;
    }
    this.#listedCount = n;
    return n;
  }

  /** Lets task `t`, which must be enabled, take its step. */
  take(t: number): void {
    const i = this.length;
    if (i === this.task.length) this.#grow();
    this.length = i + 1;
    this.task[i] = t;
    if (t >= this.threadCount) {
      this.#drain(t, i);
    } else {
      const step = this.pending[t];
      const kind = step & 15;
      const a = step >>> 4;
      const { memory } = this;
      this.step[i] = step;
      let access = ((a >>> 1) << 2) | ACCESS_OF_STEP[kind];
      this.access[i] = access;
      this.exchange[i] = 0;
      this.spins[i] = this.#spins[t];
      this.#spins[t] = null;
      this.fence[i] = this.#fence[t];
      this.#fence[t] = 0;
      if (kind >= StepKind.Wait) this.#special--;
      if (kind === StepKind.Rmw) {
        const lo = memory.words[a];
        const hi = memory.words[a + 1];
        memory.granted = a;
        memory.exchange = 0;
        this.#resume(t, a);
        memory.granted = -1;
        if (memory.exchange !== 0) {
          this.exchange[i] = memory.exchange;
          this.exchangeLo[i] = memory.exchangeLo;
          this.exchangeHi[i] = memory.exchangeHi;
          if (lo !== memory.exchangeLo || (memory.exchange === 2 && hi !== memory.exchangeHi)) {
            access = ((a >>> 1) << 2) | Access.read;
            this.access[i] = access;
          }
        }
      } else {
        this.#resume(t, a);
      }
      if ((access & 2) !== 0) this.#written(a >>> 1);
    }
    if (this.program.observe !== undefined) this.#observe(i);
  }

  /** Whether every thread has ended, but for daemons that wait, and every store buffer is empty. */
  get complete(): boolean {
    return this.live === 0 || (this.#daemons && this.#onlyDaemonsWait());
  }

  #onlyDaemonsWait(): boolean {
    for (let t = 0; t < this.taskCount; t++) {
      if (this.enabled(t)) return false;
      if (t < this.threadCount && this.pending[t] >= 0 && this.program.threads[t].daemon !== true) return false;
    }
    return true;
  }

  /** The threads that have steps left, in words: for deadlocks. */
  describeBlocked(): Finding {
    const parts: string[] = [];
    for (let t = 0; t < this.threadCount; t++) {
      const step = this.pending[t];
      if (step < 0) continue;
      const a = step >>> 4;
      const where = this.program.label?.(a) ?? `word ${a}`;
      const kind = step & 15;
      const what =
        kind === StepKind.Relax ? `spins on ${where}, which nobody writes any more` : describeWait(kind, where, this.expected[t]);
      parts.push(`${this.program.threads[t].name} ${what}`);
    }
    return { rule: 'deadlock', message: parts.join('; ') };
  }

  taskName(t: number): string {
    return t < this.threadCount
      ? this.program.threads[t].name
      : `${this.program.threads[t - this.threadCount].name}'s store buffer`;
  }

  /** The tasks of the steps taken so far. */
  schedule(): number[] {
    return Array.from(this.task.subarray(0, this.length));
  }

  /** Makes room in the log for `steps` steps. */
  reserve(steps: number): void {
    while (this.task.length < steps) this.#grow();
  }

  #observe(i: number): void {
    const e = this.#event;
    e.index = i;
    e.task = this.task[i];
    e.step = this.step[i];
    this.program.observe?.(e, this.memory.words);
  }

  #drain(t: number, i: number): void {
    const memory = this.#buffered as BufferedMemory;
    const thread = t - this.threadCount;
    const store = memory.drain(thread);
    this.step[i] = store.address * 16 + StepKind.Write;
    this.access[i] = ((store.address >>> 1) << 2) | Access.write;
    this.exchange[i] = 0;
    this.spins[i] = null;
    this.fence[i] = 0;
    this.#written(store.address >>> 1);
    if (memory.buffers[thread].length > 0) return;
    const step = this.pending[thread];
    if (step === DONE) this.live--;
    else if ((step & 15) === StepKind.Fence) {
      this.#parked--;
      this.#special--;
      this.#fence[thread] = this.length;
      this.#resume(thread, 0);
    }
  }

  /** Runs thread `t` up to its next visible step. `a` is the address that it is granted. */
  #resume(t: number, a: number): void {
    const coroutine = this.#coroutines[t];
    const buffered = this.#buffered;
    this.pending[t] = DONE;
    if (buffered !== null) {
      buffered.current = t;
      buffered.currentAfter = this.#lastStepOf(t);
    }
    let granted = a;
    for (let turns = 0; turns < INVISIBLE_STEPS_MAX; turns++) {
      const r = coroutine.next(granted as Granted);
      if (r.done === true) {
        this.#listed = false;
        if (buffered === null || buffered.buffers[t].length === 0) this.live--;
        return;
      }
      const step: Step = r.value;
      const kind = step & 15;
      granted = step >>> 4;
      if (kind < StepKind.Wait) {
        if (kind === StepKind.Write && buffered !== null) {
          buffered.buffering = granted;
          continue;
        }
        this.pending[t] = step;
        return;
      }
      if (isConditional(kind)) {
        this.expected[t] = operands.expected | 0;
        this.pending[t] = step;
        this.#special++;
        if (isUntil(kind)) {
          this.#came[t] = satisfied(kind, this.memory.words[granted], this.expected[t]) ? 1 : 0;
          if (this.#came[t] === 0) this.#waiting++;
        }
        return;
      }
      if (kind === StepKind.Relax) {
        const seen = this.#lastSeen(t, granted >>> 1);
        (this.#spins[t] ??= []).push(granted >>> 1, seen < 0 ? ~seen : seen);
        if (seen < 0) continue;
      } else if (kind === StepKind.Fence && buffered !== null) {
        this.#fence[t] = this.length;
        if (buffered.buffers[t].length === 0) continue;
      } else {
        continue;
      }
      this.pending[t] = step;
      this.#special++;
      this.#parked++;
      return;
    }
    throw new InvariantError('no-progress', `${this.program.threads[t].name} takes no step that others can see`);
  }

  /** Index of the last step of thread `t`, or -1. */
  #lastStepOf(t: number): number {
    for (let i = this.length - 1; i >= 0; i--) if (this.task[i] === t) return i;
    return -1;
  }

  /**
   * The step at which thread `t` last saw granule `g`, biased by one so that "never" is 0. Complemented where somebody has
   * written the granule since.
   */
  #lastSeen(t: number, g: number): number {
    let written = false;
    for (let i = this.length - 1; i >= 0; i--) {
      const access = this.access[i];
      if (access >> 2 !== g) continue;
      if (this.task[i] === t && (access & 3) !== Access.until) return written ? ~(i + 1) : i + 1;
      if ((access & 2) !== 0) written = true;
    }
    return written ? ~0 : 0;
  }

  /** Somebody wrote granule `g`: tells those who wait for that. */
  #written(g: number): void {
    if (this.#parked > 0) this.#release(g);
    if (this.#waiting > 0) this.#look(g);
  }

  /** What threads wait for by an `until` on granule `g` may have come true. */
  #look(g: number): void {
    for (let t = 0; t < this.threadCount; t++) {
      const step = this.pending[t];
      if (step < 0 || step >>> 5 !== g || !isUntil(step & 15) || this.#came[t] !== 0) continue;
      if (!satisfied(step & 15, this.memory.words[step >>> 4], this.expected[t])) continue;
      this.#came[t] = 1;
      this.#waiting--;
    }
  }

  /** Threads that spin on granule `g` go on. */
  #release(g: number): void {
    for (let t = 0; t < this.threadCount; t++) {
      const step = this.pending[t];
      if (step < 0 || (step & 15) !== StepKind.Relax || step >>> 5 !== g) continue;
      this.#parked--;
      this.#special--;
      this.#resume(t, step >>> 4);
    }
  }

  #grow(): void {
    this.task = wider(this.task);
    this.step = wider(this.step);
    this.access = wider(this.access);
    this.fence = wider(this.fence);
    this.exchange = wider(this.exchange);
    this.exchangeLo = wider(this.exchangeLo);
    this.exchangeHi = wider(this.exchangeHi);
  }
}
