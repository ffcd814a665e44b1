/**
 * Scheduling points: the only door to shared memory.
 *
 * Everything under the single-source folders is written as coroutines. Before it touches a shared word, a coroutine
 * yields what it is about to do; the engine decides when to let it go on, and answers with a {@link Granted} address,
 * the only thing that the accessors of `Memory` take. The build for the worker threads erases the coroutines and takes
 * `point.direct.ts` (or `point.perturbed.ts`) in place of this file.
 *
 * A step is one number (`address * 16 + kind`), so that announcing one allocates nothing. What does not fit (the value a
 * wait expects, the count of a wake, the price of work) is left in {@link operands}, which the engine reads before it
 * resumes anybody: all coroutines of an engine share one thread.
 */

declare const address: unique symbol;
/** Index of a 32-bit word of the arena. 64-bit words have even addresses. */
export type Address = number & { readonly [address]: true };

declare const granted: unique symbol;
/** An address that its holder may access once, now. */
export type Granted = Address & { readonly [granted]: true };

/** An announced step: `address * 16 + kind`. */
export type Step = number;

/** A coroutine of the single source. Call it with `yield*`; a forgotten `yield*` does not type-check. */
export type Task<T> = Generator<Step, T, Granted>;

/** What a step announces. */
export const StepKind = {
  /** One load. */
  Read: 0,
  /** One plain store. */
  Write: 1,
  /** One atomic read-modify-write. */
  Rmw: 2,
  /** An atomic addition that commutes with every other `Count` of the word: see {@link count}. */
  Count: 3,
  /** Sleep until the word no longer holds `operands.expected`. */
  Wait: 4,
  /** Wake sleepers of the word, at most `operands.count`. */
  Wake: 5,
  /** One turn of a spin loop that makes no progress before somebody writes the word. */
  Relax: 6,
  /** Work that touches nothing shared: `operands.cost`, `operands.count` times. */
  Spend: 7,
  /** A full memory barrier; drains the store buffer where there is one. */
  Fence: 8,
} as const;

export type StepKind = (typeof StepKind)[keyof typeof StepKind];

/** An engine that may grant a step before its coroutine is suspended: see `point.resumable.ts`. */
export interface PointTaker {
  /** The address where the access is granted at once, or `-1 - step`. */
  take(a: Address, kind: StepKind): Step;
  /** Charges the work in {@link operands}: 0 where it is done, or `-1 - step`. */
  spend(): Step;
}

/** Offers to grant steps before coroutines are suspended: these points do not ask. */
export const bindTaker = (_taker: PointTaker | null): void => {};

/** What {@link Runner.resume} returns at the end of a task. */
export const ENDED: Step = -Number.MAX_SAFE_INTEGER;

/** A task as an engine runs it, whatever the build has made of coroutines. */
export interface Runner {
  /** What the task returned, once it has ended. */
  readonly result: unknown;
  /**
   * Begins the task, or goes on with it after the step announced last, whose address is `granted`. Returns the next step, or
   * `-1 - step` for one that the {@link PointTaker} did not grant, or {@link ENDED}.
   */
  resume(granted: Granted): Step;
}

class GeneratorRunner implements Runner {
  result: unknown = undefined;
  readonly #begin: () => Task<unknown>;
  #task: Task<unknown> | null = null;

  constructor(begin: () => Task<unknown>) {
    this.#begin = begin;
  }

  resume(granted: Granted): Step {
    const turn = (this.#task ??= this.#begin()).next(granted);
    if (turn.done !== true) return turn.value;
    this.result = turn.value;
    return ENDED;
  }
}

export const generatorRunner = (begin: () => Task<unknown>): Runner => new GeneratorRunner(begin);

/** The task that `begin` makes, as engines run it. It begins at the first `resume`. */
export const runnerOf = generatorRunner;

/** The operands of the step announced last that do not fit into its number. */
export const operands = { expected: 0, count: 0, cost: 0 };

export const addressOfStep = (step: Step): Address => Math.floor(step / 16) as Address;
export const kindOfStep = (step: Step): StepKind => (step & 15) as StepKind;

/** Announces one load of the word at `a`. */
export const read = (a: Address): Step => a * 16 + StepKind.Read;

/** Announces one plain store to the word at `a`. */
export const write = (a: Address): Step => a * 16 + StepKind.Write;

/** Announces one atomic read-modify-write of the word at `a`. */
export const rmw = (a: Address): Step => a * 16 + StepKind.Rmw;

/**
 * Announces an atomic addition whose order among other `count`s of the same word nobody can observe: what each makes of
 * the old value must not depend on the others having gone first (a statistic, a reader's share of a lock of which it
 * only looks at the writer's bits). The explorer does not try both orders of two counts.
 */
export const count = (a: Address): Step => a * 16 + StepKind.Count;

/** Sleeps while the 32-bit word at `a` holds `expected`. May return early: the caller looks again. */
export const wait = (a: Address, expected: number): Step => {
  operands.expected = expected;
  return a * 16 + StepKind.Wait;
};

/** Wakes at most `n` sleepers of the word at `a`. */
export const wake = (a: Address, n: number): Step => {
  operands.count = n;
  return a * 16 + StepKind.Wake;
};

/** One turn of a spin loop that saw a value of `a` with which it cannot go on. */
export const relax = (a: Address): Step => a * 16 + StepKind.Relax;

/** Charges `n` times the cost `cost` (an index into the table of `cost.ts`). */
export const spend = (cost: number, n = 1): Step => {
  operands.cost = cost;
  operands.count = n;
  return StepKind.Spend;
};

/** A full memory barrier (`smp_mb()`). */
export const fence = (): Step => StepKind.Fence;

/**
 * The address of a word that only its holder can reach (a table not yet linked, a word that only this thread touches):
 * no other thread can tell when it is accessed, so it is no scheduling point.
 */
export const own = (a: Address): Granted => a as Granted;

/**
 * The address of a word that nobody writes any more while the caller can reach it (a published header, a memslot of the
 * active set): no scheduling point either. An access to freed memory is caught all the same.
 */
export const fixed = (a: Address): Granted => a as Granted;
