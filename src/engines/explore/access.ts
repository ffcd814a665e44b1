/**
 * What a step does to shared memory, as far as the order of steps matters: one number, `granule * 4 + kind`.
 *
 * A granule is an aligned 64-bit word, so that the two halves of an SPTE conflict. The kind is what really happened: a
 * compare-and-exchange that failed is a read.
 */
import { type Address, operands, type Step, StepKind } from '../../machine/point.ts';

export const Access = { read: 1, write: 2, count: 3 } as const;

/**
 * A step of the explorer alone, beside those of `StepKind`: one atomic read-modify-write that waits until the word no
 * longer holds a given value. It states a blocking lock as one step, which no real machine has; the single source
 * builds its locks from `rmw` and `wait` instead.
 */
export const ACQUIRE = 9;

/** Announces one atomic read-modify-write of the word at `a`, as soon as it no longer holds `busy`. */
export const acquire = (a: Address, busy: number): Step => {
  operands.expected = busy;
  return a * 16 + ACQUIRE;
};

/** The kind of access that each kind of step announces; 0 for those that touch nothing shared. */
export const ACCESS_OF_STEP: readonly number[] = [
  Access.read, // Read
  Access.write, // Write
  Access.write, // Rmw
  Access.count, // Count
  Access.read, // Wait
  0, // Wake
  0, // Relax
  0, // Spend
  0, // Fence
  Access.write, // ACQUIRE
];

/** Names of the kinds of step, for messages. */
export const STEP_NAMES: readonly string[] = [
  'read',
  'write',
  'rmw',
  'count',
  'wait',
  'wake',
  'relax',
  'spend',
  'fence',
  'acquire',
];

/** Whether a step of this kind may have to wait for a value. */
export function isConditional(kind: number): boolean {
  return kind === StepKind.Wait || kind === ACQUIRE;
}

/** Whether two accesses by different tasks do not commute. */
export function conflict(a: number, b: number): boolean {
  return a >> 2 === b >> 2 && (a !== b || (a & 3) === Access.write);
}
