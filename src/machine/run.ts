/**
 * Running tasks in one JavaScript thread, without an engine: alone to the end, or several in turns.
 *
 * Coordinators use the first to set up and inspect a VM while nobody else runs; tests use the second. Neither is part of
 * the bundles for threads, where tasks are plain calls.
 */
import { InvariantError } from './invariant.ts';
import type { Memory } from './memory.ts';
import { type Address, addressOfStep, type Granted, kindOfStep, operands, StepKind, type Task } from './point.ts';

/** Turns of spinning on one word, or vain attempts to sleep on it, after which {@link runToEnd} gives up. */
const IDLE_TURNS = 1000;

/**
 * Runs `task` to its end and returns its result. Nobody else runs: a task that waits for somebody never gets on.
 * Errors: deadlock, and whatever the task throws.
 */
export function runToEnd<T>(memory: Memory, task: Task<T>): T {
  let idle = 0;
  let idleAt = -1;
  let turn = task.next();
  while (!turn.done) {
    const step = turn.value;
    const a = addressOfStep(step) as Granted;
    const kind = kindOfStep(step);
    if (kind === StepKind.Wait && memory.load32(a) === operands.expected) {
      throw new InvariantError('deadlock', `a task that runs alone waits for word ${a} to change from ${operands.expected}`);
    }
    if (kind === StepKind.Relax || kind === StepKind.Wait) {
      if (a !== idleAt) idle = 0;
      idleAt = a;
      if (++idle > IDLE_TURNS) throw new InvariantError('deadlock', `a task that runs alone spins on word ${a}`);
    }
    turn = task.next(a);
  }
  return turn.value;
}

/** Chooses the next task: the index into `runnable`, which holds task numbers in ascending order. */
export type Pick = (runnable: readonly number[]) => number;

/** The tasks in turns. */
export function roundRobin(): Pick {
  let last = -1;
  return (runnable) => {
    const next = runnable.findIndex((task) => task > last);
    const index = Math.max(next, 0);
    last = runnable[index];
    return index;
  };
}

/** At random (xorshift32), the same for the same seed. */
export function seededPick(seed: number): Pick {
  let state = Math.imul(seed + 1, 0x9e37_79b1) | 1;
  return (runnable) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % runnable.length;
  };
}

export interface TogetherOptions {
  /** Steps of all tasks together, after which the run counts as one without progress. */
  readonly maxSteps: number;
  /**
   * Whether a sleeper gets up by a wake only, as on a futex, so that a forgotten wake shows as a deadlock; otherwise it gets
   * up as soon as the word differs.
   */
  readonly strictWakes: boolean;
  /** Called before each step is granted. */
  readonly onStep?: (task: number, kind: StepKind, a: Address) => void;
}

export const TOGETHER_DEFAULTS: TogetherOptions = { maxSteps: 1_000_000, strictWakes: true };

interface Runner<T> {
  readonly task: Task<T>;
  step: number;
  expected: number;
  wakes: number;
  asleep: boolean;
  done: boolean;
  result: T | undefined;
}

/**
 * Runs `tasks` one step at a time, `pick` choosing whose step is next, and returns their results.
 * Errors: deadlock, when all that are left sleep; no-progress, at the step bound; whatever a task throws.
 */
export function runTogether<T>(
  memory: Memory,
  tasks: readonly Task<T>[],
  pick: Pick = roundRobin(),
  options: Partial<TogetherOptions> = {},
): T[] {
  const { maxSteps, strictWakes, onStep } = { ...TOGETHER_DEFAULTS, ...options };
  const runners = tasks.map(
    (task): Runner<T> => ({ task, step: 0, expected: 0, wakes: 0, asleep: false, done: false, result: undefined }),
  );
  for (const runner of runners) advance(runner, undefined);

  for (let steps = 0; ; steps++) {
    const runnable = [];
    for (const [i, runner] of runners.entries()) {
      if (runner.asleep && !strictWakes && memory.load32(addressOfStep(runner.step) as Granted) !== runner.expected) {
        runner.asleep = false;
      }
      if (!runner.done && !runner.asleep) runnable.push(i);
    }
    if (runnable.length === 0) break;
    if (steps >= maxSteps) throw new InvariantError('no-progress', `${runnable.length} tasks still run after ${steps} steps`);
    const index = runnable[pick(runnable)];
    const runner = runners[index];
    const a = addressOfStep(runner.step) as Granted;
    const kind = kindOfStep(runner.step);
    onStep?.(index, kind, a);
    if (kind === StepKind.Wait && memory.load32(a) === runner.expected && !runner.done) {
      // The futex compares and sleeps in one step; the wake, or the change, lets it go on.
      runner.asleep = true;
      runner.wakes = 0;
      continue;
    }
    if (kind === StepKind.Wake) wakeSleepers(runners, a, runner.wakes);
    advance(runner, a);
  }

  const sleepers = runners.flatMap((r, i) => (r.asleep ? [`task ${i} sleeps on word ${addressOfStep(r.step)}`] : []));
  if (sleepers.length > 0) throw new InvariantError('deadlock', sleepers.join('; '));
  return runners.map((runner) => runner.result as T);
}

function advance<T>(runner: Runner<T>, grant: Granted | undefined): void {
  const turn = grant === undefined ? runner.task.next() : runner.task.next(grant);
  runner.done = turn.done === true;
  if (turn.done) {
    runner.result = turn.value;
  } else {
    runner.step = turn.value;
    runner.expected = operands.expected;
    runner.wakes = operands.count;
  }
}

/** A sleeper that was woken goes on without another look: its step has been taken. */
function wakeSleepers<T>(runners: Runner<T>[], a: Address, n: number): void {
  let left = n;
  for (const runner of runners) {
    if (left > 0 && runner.asleep && addressOfStep(runner.step) === a) {
      runner.asleep = false;
      advance(runner, a as Granted);
      left--;
    }
  }
}
