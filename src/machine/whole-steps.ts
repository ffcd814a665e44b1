/**
 * Steps that are more than a processor can do at once, for an engine that decides every step.
 *
 * A lock is a handful of accesses and a queue, and each of them can come before or after each access of everybody else: for who
 * explores all orders, most of them are about locks, and all of these come to the same. That the locks keep their promise is
 * shown by exploring the locks, access by access, on their own (`test/engines/explore/primitives.test.ts`). What is built on
 * them may then be explored with every lock, grace period and request as one step that is taken when it can be.
 * A thread whose engine offers no such steps (all but the explorer's) runs the primitives as they are.
 */
import { type Address, type Step, wait } from './point.ts';
import type { Thread } from './thread.ts';

export interface WholeSteps {
  /** One atomic read-modify-write of the word at `a`, as soon as all bits of `mask` are clear in it. */
  acquire(a: Address, mask: number): Step;
  /** The same, where its order among other `share`s and `count`s of the word shows to nobody. */
  share(a: Address, mask: number): Step;
  /**
   * Goes on once all bits of `mask` were clear in the word at `a`, since the call or at any time after it. What the word holds then
   * is unknown: who wants to know reads it.
   */
  untilClear(a: Address, mask: number): Step;
  /** Goes on once the word at `a` held something other than `value`, likewise. */
  untilNot(a: Address, value: number): Step;
}

/** Waits while the word at `a` holds `value`. May return early: the caller looks again. */
export const untilChanged = ({ whole }: Thread, a: Address, value: number): Step =>
  whole !== null ? whole.untilNot(a, value) : wait(a, value);
