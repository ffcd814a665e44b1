/**
 * Scheduling points for the virtual clock: what takes the place of `point.ts` in bundles whose coroutines are plain functions
 * that can be suspended (`src/build/resumable`).
 *
 * A generator costs several times what a call does, and most steps need no suspension: nobody else is due, or nobody can tell. In
 * these bundles a point asks the engine: the answer is the granted address, or `-1 - step` where the coroutine must be suspended.
 * Then every function from the point up to the engine leaves a {@link Frame}, and returns. Without an engine bound, every step is
 * granted at once.
 */
import { InvariantError } from './invariant.ts';
import type { Address, Granted, PointTaker, Runner, Step, Task } from './point.ts';
import { ENDED, generatorRunner, operands, StepKind } from './point.ts';

export type { Address, Granted, PointTaker, Runner, Step, Task } from './point.ts';
export { addressOfStep, ENDED, kindOfStep, operands, StepKind } from './point.ts';

/** What a suspended function returns. */
export const suspended = Symbol('suspended');

/** The second function of a coroutine: goes on after `site` with the value that was waited for. */
type Resume = (this: unknown, site: number, locals: readonly unknown[], value: unknown) => unknown;

/** A suspended call. */
class Frame {
  readonly resume: Resume;
  readonly self: unknown;
  readonly site: number;
  readonly locals: readonly unknown[];

  constructor(resume: Resume, self: unknown, site: number, locals: readonly unknown[]) {
    this.resume = resume;
    this.self = self;
    this.site = site;
    this.locals = locals;
  }
}

/** Calls that are being left, the innermost first. */
const left: Frame[] = [];
/** The answer of the point that was suspended last. */
let parked: Step = 0;

/** Suspends a function at a point that answered `step`. */
export function park(step: Step, resume: Resume, self: unknown, site: number, locals: readonly unknown[]): typeof suspended {
  parked = step;
  left.push(new Frame(resume, self, site, locals));
  return suspended;
}

/** Suspends a function whose callee was suspended. */
export function unwind(resume: Resume, self: unknown, site: number, locals: readonly unknown[]): typeof suspended {
  left.push(new Frame(resume, self, site, locals));
  return suspended;
}

class FrameRunner implements Runner {
  result: unknown = undefined;
  readonly #begin: () => unknown;
  /** Suspended calls, the innermost last. */
  readonly #frames: Frame[] = [];
  #started = false;
  /** A coroutine that is a generator after all: one from outside of the single source. */
  #generator: Runner | null = null;

  constructor(begin: () => unknown) {
    this.#begin = begin;
  }

  resume(granted: Granted): Step {
    if (this.#generator !== null) return this.#goOn(this.#generator, granted);
    const frames = this.#frames;
    let value: unknown = granted;
    if (!this.#started) {
      this.#started = true;
      value = this.#begin();
      if (value === suspended) return this.#suspend();
      if (isGenerator(value)) return this.#goOn((this.#generator = generatorRunner(() => value as Task<unknown>)), granted);
    }
    for (let frame = frames.pop(); frame !== undefined; frame = frames.pop()) {
      value = frame.resume.call(frame.self, frame.site, frame.locals, value);
      if (value === suspended) return this.#suspend();
    }
    this.result = value;
    return ENDED;
  }

  #suspend(): Step {
    for (let frame = left.pop(); frame !== undefined; frame = left.pop()) this.#frames.push(frame);
    return parked;
  }

  #goOn(generator: Runner, granted: Granted): Step {
    const step = generator.resume(granted);
    this.result = generator.result;
    return step;
  }
}

const isGenerator = (value: unknown): boolean => typeof (value as { next?: unknown } | null | undefined)?.next === 'function';

/** The task that `begin` makes, as engines run it. It begins at the first `resume`. */
export const runnerOf = (begin: () => Task<unknown>): Runner => new FrameRunner(begin);

/** Turns of waiting after which a task without an engine counts as stuck: nobody else runs. */
const IDLE_TURNS = 1000;
let idle = 0;

/** Grants everything, as nobody else runs. */
const ALONE: PointTaker = { take: (a) => a, spend: () => 0 };
let taker = ALONE;

/** The engine that is asked before a coroutine is suspended, or null: none. */
export function bindTaker(engine: PointTaker | null): void {
  taker = engine ?? ALONE;
  idle = 0;
}

export const read = (a: Address): Step => taker.take(a, StepKind.Read);
export const write = (a: Address): Step => taker.take(a, StepKind.Write);
export const rmw = (a: Address): Step => taker.take(a, StepKind.Rmw);
export const count = (a: Address): Step => taker.take(a, StepKind.Count);

const unlessAlone = (step: Step): Step => (taker === ALONE ? 0 : -1 - step);

function idling(a: Address, step: Step): Step {
  if (taker !== ALONE) return -1 - step;
  if (++idle > IDLE_TURNS) throw new InvariantError('deadlock', `a task that runs alone waits for word ${a}`);
  return a;
}

export const wait = (a: Address, expected: number): Step => {
  operands.expected = expected;
  return idling(a, a * 16 + StepKind.Wait);
};

export const wake = (a: Address, n: number): Step => {
  operands.count = n;
  return unlessAlone(a * 16 + StepKind.Wake);
};

export const relax = (a: Address): Step => idling(a, a * 16 + StepKind.Relax);
export const fence = (): Step => unlessAlone(StepKind.Fence);

export const spend = (cost: number, n = 1): Step => {
  operands.cost = cost;
  operands.count = n;
  return taker.spend();
};

export const own = (a: Address): Granted => a as Granted;
export const fixed = (a: Address): Granted => a as Granted;
