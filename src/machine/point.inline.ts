/**
 * Scheduling points for the virtual clock: what takes the place of `point.ts` in bundles whose points are asked first.
 *
 * Suspending a coroutine costs a resumption of every coroutine that called it, but most steps need no suspension: nobody else
 * is due, or nobody can tell. In these bundles `yield read(a)` has become "announce; if the answer is negative, yield it": the
 * engine grants a step at once by answering with the address, and where it wants the coroutine suspended, answers with
 * `-1 - step`. Without an engine bound, every step suspends, as with `point.ts`.
 */
import type { Address, Granted, PointTaker, Step } from './point.ts';
import { operands, StepKind } from './point.ts';

export type { Address, Granted, PointTaker, Step, Task } from './point.ts';
export { addressOfStep, kindOfStep, operands, StepKind } from './point.ts';

/** Suspends always, as the plain points do. */
const SUSPENDS: PointTaker = { take: (a, kind) => -1 - (a * 16 + kind), spend: () => -1 - StepKind.Spend };
let taker = SUSPENDS;

/** The engine that is asked before a coroutine is suspended, or null: none. Returns whether these points ask at all. */
export function bindTaker(engine: PointTaker | null): boolean {
  taker = engine ?? SUSPENDS;
  return true;
}

export const read = (a: Address): Step => taker.take(a, StepKind.Read);
export const write = (a: Address): Step => taker.take(a, StepKind.Write);
export const rmw = (a: Address): Step => taker.take(a, StepKind.Rmw);
export const count = (a: Address): Step => taker.take(a, StepKind.Count);

export const wait = (a: Address, expected: number): Step => {
  operands.expected = expected;
  return -1 - (a * 16 + StepKind.Wait);
};

export const wake = (a: Address, n: number): Step => {
  operands.count = n;
  return -1 - (a * 16 + StepKind.Wake);
};

export const relax = (a: Address): Step => -1 - (a * 16 + StepKind.Relax);
export const fence = (): Step => -1 - StepKind.Fence;

export const spend = (cost: number, n = 1): Step => {
  operands.cost = cost;
  operands.count = n;
  return taker.spend();
};

export const own = (a: Address): Granted => a as Granted;
export const fixed = (a: Address): Granted => a as Granted;
