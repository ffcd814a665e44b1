/**
 * What a step does to shared memory, as far as the order of steps matters: one number, `granule * 4 + kind`.
 *
 * A granule is an aligned 64-bit word, so that the two halves of an SPTE conflict. The kind is what really happened: a
 * compare-and-exchange that failed is a read.
 *
 * The kind `until` is that of a step which waits for a value and learns nothing but that it was there: it can always be taken as
 * soon as it may be, for whatever comes after it may come as late as it likes. So the order of such a step and a *later* write
 * is never tried the other way round; only what came before it, and it need not have waited for, is.
 */
import { type Address, operands, type Step, StepKind } from '../../machine/point.ts';
import type { WholeSteps } from '../../machine/whole-steps.ts';

export const Access = { until: 0, read: 1, write: 2, count: 3 } as const;

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

/** Steps that only an engine can offer which decides all of them: see `whole-steps.ts`. */
const ACQUIRE_CLEAR = 10;
const SHARE_CLEAR = 11;
const UNTIL_CLEAR = 12;
const UNTIL_NOT = 13;

const conditional = (a: Address, kind: number, operand: number): Step => {
  operands.expected = operand;
  return a * 16 + kind;
};

/** The explorer's {@link WholeSteps}. */
export const wholeSteps: WholeSteps = {
  acquire: (a, mask) => conditional(a, ACQUIRE_CLEAR, mask),
  share: (a, mask) => conditional(a, SHARE_CLEAR, mask),
  untilClear: (a, mask) => conditional(a, UNTIL_CLEAR, mask),
  untilNot: (a, value) => conditional(a, UNTIL_NOT, value),
};

/** The kind of access that each kind of step announces; without a meaning for those that touch nothing shared. */
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
  Access.write, // ACQUIRE_CLEAR
  Access.count, // SHARE_CLEAR
  Access.until, // UNTIL_CLEAR
  Access.until, // UNTIL_NOT
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
  'acquire',
  'share',
  'wait',
  'wait',
];

/** Whether a step of this kind may have to wait for a value. */
export const isConditional = (kind: number): boolean => kind === StepKind.Wait || kind >= ACQUIRE;

/** Whether a step of this kind waits for a value and does nothing else: the access `until`. */
export const isUntil = (kind: number): boolean => kind >= UNTIL_CLEAR;

/** Whether a conditional step of this kind, announced with `operand`, could be taken while its word holds `value`. */
export function satisfied(kind: number, value: number, operand: number): boolean {
  return kind >= ACQUIRE_CLEAR && kind <= UNTIL_CLEAR ? (value & operand) === 0 : value !== operand;
}

/** What a thread waits for, in words, that announced a conditional step of this kind with `operand` on the word `where`. */
export function describeWait(kind: number, where: string, operand: number): string {
  if (kind < ACQUIRE_CLEAR || kind > UNTIL_CLEAR) return `waits in ${STEP_NAMES[kind]} until ${where} is no longer ${operand}`;
  return operand === -1
    ? `waits in ${STEP_NAMES[kind]} until ${where} is 0`
    : `waits in ${STEP_NAMES[kind]} until bits 0x${(operand >>> 0).toString(16)} of ${where} are clear`;
}

/** Whether two accesses by different tasks do not commute. */
export function conflict(a: number, b: number): boolean {
  return a >> 2 === b >> 2 && ((a | b) & 2) !== 0 && (a & b & 3) !== Access.count;
}
