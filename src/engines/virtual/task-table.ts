/**
 * The tasks of a run: their state as flat arrays, so that a step touches numbers only.
 */
import type { Runner } from '../../machine/point.ts';

/** What a task does now. */
export const TaskState = {
  /** Has its CPU; in the event queue. */
  running: 0,
  /** Waits for its CPU. */
  runnable: 1,
  /** Has its CPU and spins on a word until it changes. */
  spinning: 2,
  /** Has given its CPU away until somebody wakes it. */
  sleeping: 3,
  done: 4,
} as const;
export type TaskState = (typeof TaskState)[keyof typeof TaskState];

/** Steps that the engine puts in place of announced ones; announced steps are never negative. */
export const Pending = {
  /** Nothing to do: go on with the coroutine. */
  resume: -1,
  /** Work worth `owed` is not done yet. */
  owed: -2,
  /** A spinner's time slice ends. */
  slice: -3,
} as const;

export class TaskTable {
  readonly capacity: number;
  count = 0;
  readonly names: string[] = [];
  readonly coroutines: Runner[] = [];
  readonly values: unknown[] = [];
  readonly daemon: boolean[] = [];
  readonly cpu: Int32Array;
  readonly state: Uint8Array;
  /** Virtual time: when the task's last step was done. */
  readonly time: Float64Array;
  readonly start: Float64Array;
  /** The step that comes next. */
  readonly pending: Float64Array;
  /** Its operands, or those of the wait that the task is in. */
  readonly expected: Int32Array;
  readonly amount: Float64Array;
  readonly cost: Int32Array;
  /** Picoseconds of work begun and not done. */
  readonly owed: Float64Array;
  /** When all its stores are visible. */
  readonly drained: Float64Array;
  /** Since when it waits, for a word or for its CPU. */
  readonly since: Float64Array;
  /** The word it waits for. */
  readonly word: Float64Array;
  /** The column of the lock that it waits for, or 0 where its word tells: see `lock-blame.ts`. */
  readonly blamed: Int32Array;
  /** The column that its waiting is charged to. */
  readonly column: Int32Array;
  /** 1: the wait is a `relax`, over at any change of the aligned pair of words. */
  readonly relaxing: Uint8Array;
  readonly seenLow: Int32Array;
  readonly seenHigh: Int32Array;
  /** The word and line version of the last `relax` that did not wait. */
  readonly armedWord: Float64Array;
  readonly armedVersion: Int32Array;
  /** Links of the list that the task is in. */
  readonly next: Int32Array;
  /** State of its jitter. */
  readonly random: Int32Array;
  readonly steps: Float64Array;

  constructor(capacity: number) {
    this.capacity = capacity;
    const f64 = (): Float64Array => new Float64Array(capacity);
    const i32 = (): Int32Array => new Int32Array(capacity);
    this.cpu = i32();
    this.state = new Uint8Array(capacity);
    this.time = f64();
    this.start = f64();
    this.pending = f64();
    this.expected = i32();
    this.amount = f64();
    this.cost = i32();
    this.owed = f64();
    this.drained = f64();
    this.since = f64();
    this.word = f64();
    this.blamed = i32();
    this.column = i32();
    this.relaxing = new Uint8Array(capacity);
    this.seenLow = i32();
    this.seenHigh = i32();
    this.armedWord = f64().fill(-1);
    this.armedVersion = i32();
    this.next = i32();
    this.random = i32();
    this.steps = f64();
  }

  /** Adds a task that begins at `start` picoseconds; returns its number. */
  add(name: string, cpu: number, start: number, random: number, daemon: boolean): number {
    if (this.count === this.capacity) throw new RangeError(`more than ${this.capacity} tasks: raise tasksMax`);
    const task = this.count++;
    this.names.push(name);
    this.values.push(undefined);
    this.daemon.push(daemon);
    this.cpu[task] = cpu;
    this.time[task] = this.start[task] = this.since[task] = this.drained[task] = start;
    this.pending[task] = Pending.resume;
    this.random[task] = random;
    return task;
  }
}
